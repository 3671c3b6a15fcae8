//! A value in the forms in which it goes out and may come back.
use super::rewriter::Pair;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

/// A text that is wiped from memory when it is dropped.
pub struct Wiped(pub Zeroizing<String>);

impl<'de> Deserialize<'de> for Wiped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

/// As a component of a query or a form: all but unreserved characters escaped.
pub fn percent(value: &str, upper: bool) -> Zeroizing<String> {
    let mut encoded = Zeroizing::new(String::with_capacity(value.len() * 3));
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let digits: &[u8; 16] = if upper {
                b"0123456789ABCDEF"
            } else {
                b"0123456789abcdef"
            };
            encoded.push('%');
            encoded.push(char::from(digits[usize::from(byte >> 4)]));
            encoded.push(char::from(digits[usize::from(byte & 15)]));
        }
    }
    encoded
}

/// As the inside of a JSON string.
pub fn json(value: &str) -> Zeroizing<String> {
    // A string always has a JSON form.
    let quoted = Zeroizing::new(serde_json::to_string(value).unwrap_or_default());
    Zeroizing::new(
        quoted
            .get(1..quoted.len().saturating_sub(1))
            .unwrap_or_default()
            .to_owned(),
    )
}

/// Every form of the value that is looked for in responses, with a mask of the same length.
pub fn masks(value: &str) -> Vec<Pair> {
    let mut forms = vec![Zeroizing::new(value.as_bytes().to_vec())];
    let mut add = |form: &[u8]| {
        if form.len() >= 8 && !forms.iter().any(|known| known.as_slice() == form) {
            forms.push(Zeroizing::new(form.to_vec()));
        }
    };
    add(percent(value, true).as_bytes());
    add(percent(value, false).as_bytes());
    // As forms write it, with plus for a space.
    add(Zeroizing::new(percent(value, true).replace("%20", "+")).as_bytes());
    let escaped = json(value);
    add(escaped.as_bytes());
    add(Zeroizing::new(escaped.replace('/', "\\/")).as_bytes());
    for offset in 0..3 {
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            add(core(value, offset, engine).as_bytes());
        }
    }
    let mask = |form: Zeroizing<Vec<u8>>| {
        let replacement = Zeroizing::new(vec![b'*'; form.len()]);
        Pair {
            needle: form,
            replacement,
            secret: 0,
        }
    };
    forms.into_iter().map(mask).collect()
}

/// The characters of base64 that depend on the value alone when `offset` bytes stand before it.
fn core(value: &str, offset: usize, engine: &base64::engine::GeneralPurpose) -> Zeroizing<String> {
    let mut shifted = Zeroizing::new(vec![0; offset]);
    shifted.extend_from_slice(value.as_bytes());
    let encoded = Zeroizing::new(engine.encode(shifted.as_slice()));
    let skip = [0, 2, 3][offset];
    // The last character of an unfinished group holds bits of what comes next.
    let cut = usize::from(!shifted.len().is_multiple_of(3));
    Zeroizing::new(encoded.get(skip..encoded.len() - cut).unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;

    #[test]
    fn the_core_is_found_wherever_the_value_stands() {
        let value = "s3cr3t-token/+value";
        for before in ["", "u", "us", "user:", "someone:"] {
            for after in ["", "x", "xy", "xyz"] {
                let encoded = STANDARD.encode(format!("{before}{value}{after}"));
                let found = masks(value)
                    .iter()
                    .any(|pair| encoded.contains(std::str::from_utf8(&pair.needle).unwrap()));
                assert!(found, "{before:?} {after:?}");
            }
        }
    }

    #[test]
    fn masks_keep_the_length() {
        for pair in masks("a \"quoted\" väl/ue") {
            assert_eq!(pair.needle.len(), pair.replacement.len());
        }
        assert_eq!(percent("a b/ü", true).as_str(), "a%20b%2F%C3%BC");
        assert_eq!(json("a\"b\\").as_str(), "a\\\"b\\\\");
    }
}
