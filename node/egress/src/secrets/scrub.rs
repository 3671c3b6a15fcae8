//! Keeps values out of what comes back: masked in the same length, so that content-length and frames stay right.
use super::document::Secrets;
use super::rewriter::Rewriter;
use http::HeaderMap;

impl Secrets {
    pub fn scrubber(&self) -> Rewriter {
        Rewriter::new(self.masks.clone())
    }

    pub fn scrub_headers(&self, headers: &mut HeaderMap) {
        self.scrubber().rewrite_fields(headers);
    }
}
