//! Replaces texts in a stream, also those that are split over its pieces.
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use memchr::memmem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use zeroize::{Zeroize, Zeroizing};

pub struct Pair {
    pub needle: Zeroizing<Vec<u8>>,
    pub replacement: Zeroizing<Vec<u8>>,
    /// Which secret it belongs to, for the record; below 64.
    pub secret: usize,
}

#[derive(Clone)]
pub struct Rewriter {
    pairs: Arc<Vec<Pair>>,
    /// The end of what came so far, while it may be the beginning of a needle.
    held: Vec<u8>,
    hits: Arc<AtomicU64>,
}

impl Rewriter {
    pub fn new(pairs: Arc<Vec<Pair>>) -> Self {
        Self {
            pairs,
            held: Vec::new(),
            hits: Arc::default(),
        }
    }

    /// One bit for each secret that was found, also by clones.
    pub fn hits(&self) -> Arc<AtomicU64> {
        self.hits.clone()
    }

    /// What can be passed on now; what is not rewritten is not copied.
    pub fn push(&mut self, chunk: Bytes) -> Bytes {
        let untouched = self.held.is_empty() && self.first_match(&chunk, 0).is_none();
        if untouched && self.hold_from(&chunk) == chunk.len() {
            return chunk;
        }
        let mut data = std::mem::take(&mut self.held);
        data.extend_from_slice(&chunk);
        let hold = self.hold_from(&data);
        self.rewrite(data, hold)
    }

    /// What was held back: the stream is at its end.
    pub fn finish(&mut self) -> Bytes {
        let data = std::mem::take(&mut self.held);
        let hold = data.len();
        self.rewrite(data, hold)
    }

    /// Each value by itself.
    pub fn rewrite_fields(&self, fields: &mut HeaderMap) {
        for value in fields.values_mut() {
            if self.first_match(value.as_bytes(), 0).is_none() {
                continue;
            }
            let mut rewriter = self.clone();
            rewriter.held.clear();
            let mut clean = rewriter.push(Bytes::copy_from_slice(value.as_bytes())).to_vec();
            clean.extend(rewriter.finish());
            *value = HeaderValue::from_bytes(&clean).unwrap_or(HeaderValue::from_static("*"));
        }
    }

    fn rewrite(&mut self, mut data: Vec<u8>, hold: usize) -> Bytes {
        let mut out = Vec::with_capacity(data.len());
        let mut at = 0;
        while let Some((start, pair)) = self.first_match(&data, at).filter(|(start, _)| *start < hold) {
            out.extend_from_slice(&data[at..start]);
            out.extend_from_slice(&pair.replacement);
            self.hits.fetch_or(1 << pair.secret, Ordering::Relaxed);
            at = start + pair.needle.len();
        }
        let hold = hold.max(at);
        out.extend_from_slice(&data[at..hold]);
        self.held = data[hold..].to_vec();
        data.zeroize();
        Bytes::from(out)
    }

    /// The first match; of those that begin there the longest.
    fn first_match(&self, data: &[u8], at: usize) -> Option<(usize, &Pair)> {
        let found = self
            .pairs
            .iter()
            .filter_map(|pair| memmem::find(&data[at..], &pair.needle).map(|index| (at + index, pair)));
        found.min_by_key(|(start, pair)| (*start, usize::MAX - pair.needle.len()))
    }

    /// Where the longest end begins that is the beginning of a needle.
    fn hold_from(&self, data: &[u8]) -> usize {
        let longest = self.pairs.iter().map(|pair| pair.needle.len()).max().unwrap_or(0);
        let from = data.len().saturating_sub(longest.saturating_sub(1));
        (from..data.len())
            .find(|start| {
                let end = &data[*start..];
                self.pairs
                    .iter()
                    .any(|pair| pair.needle.len() > end.len() && pair.needle.starts_with(end))
            })
            .unwrap_or(data.len())
    }
}

impl Drop for Rewriter {
    fn drop(&mut self) {
        self.held.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewriter(pairs: &[(&str, &str)]) -> Rewriter {
        let pair = |(needle, replacement): &(&str, &str)| Pair {
            needle: Zeroizing::new(needle.as_bytes().to_vec()),
            replacement: Zeroizing::new(replacement.as_bytes().to_vec()),
            secret: 0,
        };
        Rewriter::new(Arc::new(pairs.iter().map(pair).collect()))
    }

    fn run(pairs: &[(&str, &str)], text: &str, size: usize) -> String {
        let mut rewriter = rewriter(pairs);
        let mut out = Vec::new();
        for chunk in text.as_bytes().chunks(size) {
            out.extend(rewriter.push(Bytes::copy_from_slice(chunk)));
        }
        out.extend(rewriter.finish());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_cut_of_the_stream_does_not_matter() {
        let pairs = [("secret", "X"), ("secretive", "YY"), ("aab", "-")];
        for size in 1..20 {
            let text = "a secret, secretive secre secretiv aaab sec";
            assert_eq!(run(&pairs, text, size), "a X, YY secre Xiv a- sec", "pieces of {size}");
        }
    }

    #[test]
    fn only_a_possible_beginning_is_held_back() {
        let mut rewriter = rewriter(&[("secret", "X")]);
        assert_eq!(rewriter.push(Bytes::from_static(b"data: 1\n\n")), "data: 1\n\n");
        assert_eq!(rewriter.push(Bytes::from_static(b"data: sec")), "data: ");
        assert_eq!(rewriter.push(Bytes::from_static(b"tor")), "sector");
    }
}
