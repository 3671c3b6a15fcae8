//! Puts values where placeholders stand, at the bound places of one request, over TLS only.
use super::document::{Binding, Location, Secret, Secrets};
use super::encode;
use super::rewriter::{Pair, Rewriter};
use crate::policy::path::RequestPath;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use memchr::memmem;
use std::sync::Arc;
use zeroize::{Zeroize, Zeroizing};

pub struct Place<'a> {
    pub over_tls: bool,
    pub host: &'a str,
    pub port: u16,
    pub method: String,
    pub path: &'a RequestPath,
}

#[derive(Default)]
pub struct Substituted {
    /// Names only (invariant 7).
    pub used: Vec<String>,
    pub unbound: Vec<String>,
    /// For a body in which a value may stand.
    pub body: Option<Rewriter>,
}

impl Secrets {
    pub fn substitute(&self, place: &Place<'_>, parts: &mut Parts) -> Substituted {
        let mut result = Substituted::default();
        let mut pairs = Vec::new();
        for (index, secret) in self.list.iter().enumerate() {
            let admits = |binding: &&Binding| binding.admits(place.host, place.port, &place.method, place.path);
            let bindings: Vec<&Binding> = secret
                .bindings
                .iter()
                .filter(|_| place.over_tls)
                .filter(admits)
                .collect();
            let bound = |location| bindings.iter().any(|binding| binding.locations.contains(&location));
            let mut used = in_headers(secret, &bindings, &mut parts.headers);
            if bound(Location::Basic) {
                used |= in_basic(secret, &mut parts.headers);
            }
            if bound(Location::Query) {
                used |= in_query(secret, &mut parts.uri);
            }
            let needle = secret.placeholder.as_bytes();
            if remains(needle, parts) {
                result.unbound.push(secret.name.clone());
            }
            let replacement = match body_kind(&parts.headers) {
                Some(Location::Json) if bound(Location::Json) => Some(encode::json(&secret.value)),
                Some(Location::Form) if bound(Location::Form) => Some(encode::percent(&secret.value, true)),
                _ => None,
            };
            if let Some(text) = replacement {
                let replacement = Zeroizing::new(text.as_bytes().to_vec());
                pairs.push(Pair {
                    needle: Zeroizing::new(needle.to_vec()),
                    replacement,
                    secret: index,
                });
            }
            if used {
                result.used.push(secret.name.clone());
            }
        }
        result.body = (!pairs.is_empty()).then(|| Rewriter::new(Arc::new(pairs)));
        result
    }
}

/// JSON or form, as it is said and not encoded.
fn body_kind(headers: &HeaderMap) -> Option<Location> {
    if headers
        .get(CONTENT_ENCODING)
        .is_some_and(|value| value.as_bytes() != b"identity")
    {
        return None;
    }
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?.to_ascii_lowercase();
    let essence = text.split(';').next()?.trim();
    if essence == "application/json" || essence.ends_with("+json") {
        return Some(Location::Json);
    }
    (essence == "application/x-www-form-urlencoded").then_some(Location::Form)
}

fn in_headers(secret: &Secret, bindings: &[&Binding], headers: &mut HeaderMap) -> bool {
    let admits = |name: &HeaderName| {
        bindings.iter().any(|binding| {
            binding.locations.contains(&Location::Header)
                && (binding.headers.is_empty() || binding.headers.contains(name))
        })
    };
    let mut used = false;
    for (name, value) in headers.iter_mut() {
        if !admits(name) {
            continue;
        }
        if let Some(mut bytes) = replaced(value.as_bytes(), secret.placeholder.as_bytes(), secret.value.as_bytes())
            && let Ok(mut changed) = HeaderValue::from_bytes(&bytes)
        {
            changed.set_sensitive(true);
            *value = changed;
            bytes.zeroize();
            used = true;
        }
    }
    used
}

fn in_basic(secret: &Secret, headers: &mut HeaderMap) -> bool {
    let Some(value) = headers.get_mut(AUTHORIZATION) else {
        return false;
    };
    let Some((scheme, encoded)) = value.to_str().ok().and_then(|text| text.split_once(' ')) else {
        return false;
    };
    if !scheme.eq_ignore_ascii_case("basic") {
        return false;
    }
    let Ok(decoded) = STANDARD.decode(encoded.trim()) else {
        return false;
    };
    let Some(bytes) = replaced(&decoded, secret.placeholder.as_bytes(), secret.value.as_bytes()) else {
        return false;
    };
    let text = Zeroizing::new(format!("Basic {}", Zeroizing::new(STANDARD.encode(&*bytes)).as_str()));
    let Ok(mut changed) = HeaderValue::from_str(&text) else {
        return false;
    };
    changed.set_sensitive(true);
    *value = changed;
    true
}

fn in_query(secret: &Secret, uri: &mut Uri) -> bool {
    let Some(query) = uri.query() else { return false };
    let encoded = encode::percent(&secret.value, true);
    let Some(bytes) = replaced(query.as_bytes(), secret.placeholder.as_bytes(), encoded.as_bytes()) else {
        return false;
    };
    let Ok(query) = std::str::from_utf8(&bytes) else {
        return false;
    };
    let text = Zeroizing::new(format!("{}?{query}", uri.path()));
    let mut parts = uri.clone().into_parts();
    let Ok(path) = text.parse() else { return false };
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).is_ok_and(|changed| {
        *uri = changed;
        true
    })
}

/// None where the placeholder does not occur.
fn replaced(text: &[u8], placeholder: &[u8], value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut at = memmem::find(text, placeholder)?;
    let mut out = Zeroizing::new(Vec::with_capacity(text.len() + value.len()));
    let mut from = 0;
    loop {
        out.extend_from_slice(&text[from..at]);
        out.extend_from_slice(value);
        from = at + placeholder.len();
        match memmem::find(&text[from..], placeholder) {
            Some(index) => at = from + index,
            None => break,
        }
    }
    out.extend_from_slice(&text[from..]);
    Some(out)
}

/// Whether the placeholder still stands somewhere in the head, also inside Basic.
fn remains(placeholder: &[u8], parts: &Parts) -> bool {
    let holds = |text: &[u8]| memmem::find(text, placeholder).is_some();
    let basic = parts
        .headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.split_once(' '));
    let decoded = basic.and_then(|(_, encoded)| STANDARD.decode(encoded.trim()).ok());
    parts.headers.values().any(|value| holds(value.as_bytes()))
        || decoded.is_some_and(|text| holds(&text))
        || parts
            .uri
            .path_and_query()
            .is_some_and(|text| holds(text.as_str().as_bytes()))
}
