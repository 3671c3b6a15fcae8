//! Keeps values out of what comes back: masked in the same length, so that content-length and frames stay right.
use super::document::Secrets;
use super::rewriter::Rewriter;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

impl Secrets {
    pub fn scrubber(&self) -> Rewriter {
        Rewriter::new(self.masks.clone())
    }

    pub fn scrub_headers(&self, headers: &mut HeaderMap) {
        for value in headers.values_mut() {
            let mut scrubber = self.scrubber();
            let mut clean = scrubber.push(Bytes::copy_from_slice(value.as_bytes())).to_vec();
            clean.extend(scrubber.finish());
            if clean != value.as_bytes() {
                *value = HeaderValue::from_bytes(&clean).unwrap_or(HeaderValue::from_static("*"));
            }
        }
    }
}
