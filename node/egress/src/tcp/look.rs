//! What a sandbox sends first: TLS with a name, HTTP, something else, or nothing.
use crate::limits::{CLIENT_HELLO_BYTES, HANDSHAKE_WAIT};
use crate::policy::document::Protocol;
use crate::tls::hello::{self, Hello};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

#[derive(Default)]
pub struct Opening {
    pub bytes: Vec<u8>,
    /// None: nothing was looked at, or nothing came.
    pub kind: Option<Protocol>,
    pub name: Option<String>,
    pub ech: bool,
}

/// Reads until it is clear; `silence` bounds the wait for the first byte.
pub async fn look(client: &mut TcpStream, silence: Duration) -> Opening {
    let mut opening = Opening::default();
    let deadline = tokio::time::Instant::now() + HANDSHAKE_WAIT;
    let mut wait = silence;
    loop {
        let mut chunk = [0; 4096];
        let read = timeout(wait, client.read(&mut chunk)).await;
        let length = match read {
            Ok(Ok(length)) if length > 0 => length,
            // Silence, an end or an error: what came so far has no name.
            _ => break,
        };
        opening.bytes.extend_from_slice(&chunk[..length]);
        if settle(&mut opening) {
            return opening;
        }
        wait = deadline.saturating_duration_since(tokio::time::Instant::now());
    }
    opening.kind = (!opening.bytes.is_empty()).then_some(Protocol::Tcp);
    opening
}

/// True once the kind is known.
fn settle(opening: &mut Opening) -> bool {
    let bytes = &opening.bytes;
    if hello::looks_like_tls(bytes[0]) {
        match hello::read(bytes) {
            Hello::Partial if bytes.len() <= CLIENT_HELLO_BYTES => return false,
            Hello::Whole { name, ech } => {
                opening.kind = Some(Protocol::Tls);
                (opening.name, opening.ech) = (name, ech);
            }
            Hello::Partial | Hello::Unclear => opening.kind = Some(Protocol::Tcp),
        }
        return true;
    }
    let is_http = starts_like_http(bytes);
    opening.kind = is_http.map(|http| if http { Protocol::Http } else { Protocol::Tcp });
    is_http.is_some()
}

/// A method of HTTP/1 and a space; None while it could still become one.
fn starts_like_http(bytes: &[u8]) -> Option<bool> {
    let end = bytes
        .iter()
        .position(|byte| !byte.is_ascii_uppercase() && *byte != b'-');
    match end {
        None if bytes.len() <= 20 => None,
        Some(end) if (1..=20).contains(&end) && bytes[end] == b' ' => {
            // The preface of HTTP/2 in clear text, which nothing here speaks.
            Some(&bytes[..end] != b"PRI")
        }
        _ => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_is_told_from_other_protocols() {
        assert_eq!(starts_like_http(b"GET / HTTP/1.1"), Some(true));
        assert_eq!(starts_like_http(b"GE"), None);
        for other in [
            &b"PRI * HTTP/2.0"[..],
            b"SSH-2.0-OpenSSH",
            b"\x00\x00\x00\x08",
            b" GET",
            b"get / HTTP/1.1",
        ] {
            assert_eq!(starts_like_http(other), Some(false), "{other:?}");
        }
    }
}
