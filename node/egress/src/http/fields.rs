//! Header fields that belong to one hop and end at the proxy (RFC 9110, 7.6.1).
use http::header::{CONNECTION, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue};

const HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "transfer-encoding",
    "upgrade",
    "te",
    "http2-settings",
    // Answered here: the body is asked for when somebody wants it.
    "expect",
];

/// Removes them; `TE: trailers`, which gRPC needs, stays for HTTP/2.
pub fn remove_hop_fields(headers: &mut HeaderMap, keep_te: bool) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let trailers = headers
        .get(TE)
        .is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    // What Connection names is of this hop as well, but not what says where the request goes or how long it is.
    for name in named
        .iter()
        .filter(|name| !matches!(name.as_str(), "host" | "content-length" | "authorization"))
    {
        headers.remove(name);
    }
    for name in HOP {
        headers.remove(*name);
    }
    if trailers && keep_te {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Whether the request asks for a WebSocket, the one upgrade that passes.
pub fn wants_websocket(headers: &HeaderMap) -> bool {
    let asks = |name: HeaderName, token: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|word| word.trim().eq_ignore_ascii_case(token))
    };
    asks(UPGRADE, "websocket") && asks(CONNECTION, "upgrade") && !headers.contains_key(TRANSFER_ENCODING)
}
