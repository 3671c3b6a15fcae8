//! What the sender of a file says of its bytes, in headers or after the last of them.

use http::HeaderMap;

use super::path::Target;
use crate::http::error::{Answer, Code, Refusal};

const SIZE: &str = "x-atoll-size";
const SHA256: &str = "x-atoll-sha256";

/// What the client says it sends.
pub struct Announced {
    size: Option<u64>,
    sha256: Option<String>,
    /// A sender that learns the size as it sends has promised to tell it after the last byte.
    trailer_promised: bool,
}

impl Announced {
    /// `empty`: the request has no body at all, which is a length too.
    pub fn read(headers: &HeaderMap, empty: bool) -> Answer<Self> {
        let mut announced = Self { size: None, sha256: None, trailer_promised: false };
        announced.take(headers)?;
        announced.trailer_promised = headers.get_all(http::header::TRAILER).iter().any(|value| {
            let names = value.to_str().unwrap_or_default().split(',');
            names.map(str::trim).any(|name| name.eq_ignore_ascii_case(SIZE))
        });
        let lengths = [http::header::CONTENT_LENGTH.as_str(), SIZE];
        let told = lengths.iter().any(|name| headers.contains_key(*name));
        if !told && !announced.trailer_promised && !empty {
            let message = format!(
                "cannot tell a whole body from a part of it: give content-length or {SIZE}, or \
                 promise the size by the header trailer: {SIZE}"
            );
            return Err(Refusal::invalid(message));
        }
        Ok(announced)
    }

    pub fn complete(&mut self, trailers: &HeaderMap) -> Answer<()> {
        self.trailer_promised &= !trailers.contains_key(SIZE);
        self.take(trailers)
    }

    fn take(&mut self, headers: &HeaderMap) -> Answer<()> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        match text(SIZE).map(str::parse) {
            None => {}
            Some(Ok(size)) if self.size.is_none_or(|known| known == size) => self.size = Some(size),
            Some(Ok(_)) => return Err(Refusal::invalid("x-atoll-size was told twice, unequally")),
            Some(Err(_)) => {
                return Err(Refusal::invalid("x-atoll-size must be a whole number"));
            }
        }
        if let Some(sha256) = text(SHA256) {
            self.sha256 = Some(sha256.to_ascii_lowercase());
        }
        Ok(())
    }

    pub fn check(&self, target: &Target, size: u64, sha256: &str) -> Answer<()> {
        let differs = |what: &str, announced: &str, came: &str| {
            let path = &target.text;
            let message =
                format!("cannot write {path}: {what} {announced} was announced and {came} came");
            Err(Refusal::new(Code::HashMismatch, message))
        };
        if self.trailer_promised {
            let path = &target.text;
            let message = format!(
                "cannot write {path}: the body ended without its trailer {SIZE}; send it again"
            );
            return Err(Refusal::invalid(message));
        }
        match (&self.size, &self.sha256) {
            (Some(announced), _) if *announced != size => {
                differs("size", &announced.to_string(), &size.to_string())
            }
            (_, Some(announced)) if announced != sha256 => differs("sha256", announced, sha256),
            _ => Ok(()),
        }
    }
}
