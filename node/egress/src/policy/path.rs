//! Paths as rules see them. A server may decode what a pattern did not, so a path is matched in two readings:
//! to allow, both must match; to deny, one is enough.
use crate::limits::RULE_TEXT_BYTES;

pub struct PathPattern(String);

impl PathPattern {
    /// `*` stands for any characters, `/` included.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with(['/', '*']) || text.len() > RULE_TEXT_BYTES || text.contains(['?', '#']) {
            return Err(format!(
                "{text:?} is no path; it starts with / and has no query, such as /v1/*"
            ));
        }
        if text.matches('*').count() > 8 {
            return Err(format!("{text:?} has more than 8 wildcards"));
        }
        Ok(Self(text.to_owned()))
    }

    fn matches(&self, path: &str) -> bool {
        glob(self.0.as_bytes(), path.as_bytes())
    }
}

/// One path of a request in both readings. An unclear one (dot segments, backslashes, broken or doubled
/// escapes) has none: every denying pattern matches it and no allowing one does.
#[derive(Clone)]
pub struct RequestPath(Option<Readings>);

#[derive(Clone)]
struct Readings {
    plain: String,
    decoded: String,
}

impl RequestPath {
    pub fn parse(path: &str) -> Self {
        Self(readings(path))
    }

    pub fn is_clear(&self) -> bool {
        self.0.is_some()
    }

    pub fn matches(&self, patterns: &[PathPattern], to_deny: bool) -> bool {
        let Some(readings) = &self.0 else { return to_deny };
        let plain = patterns.iter().any(|pattern| pattern.matches(&readings.plain));
        let decoded = patterns.iter().any(|pattern| pattern.matches(&readings.decoded));
        if to_deny { plain || decoded } else { plain && decoded }
    }
}

fn readings(path: &str) -> Option<Readings> {
    if !path.starts_with('/') && path != "*" {
        return None;
    }
    let decoded = decode(path)?;
    let dotted = decoded.split('/').any(|segment| {
        // `/a;x/..;y/b`: some servers drop what stands behind the semicolon.
        let name = segment.split(';').next().unwrap_or(segment);
        name == "." || name == ".."
    });
    if dotted || decoded.contains('\\') || decoded.contains(char::is_control) {
        return None;
    }
    let mut collapsed = String::with_capacity(decoded.len());
    for character in decoded.chars() {
        if !(character == '/' && collapsed.ends_with('/')) {
            collapsed.push(character);
        }
    }
    Some(Readings {
        plain: path.to_owned(),
        decoded: collapsed,
    })
}

fn decode(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let value = digit(rest.next())? * 16 + digit(rest.next())?;
        // Decoded a second time somewhere, `%25..` would be another path.
        if value == u32::from(b'%') {
            return None;
        }
        bytes.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(bytes).ok()
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star = None;
    while from < text.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at, from));
            at += 1;
        } else if pattern.get(at) == Some(&text[from]) {
            at += 1;
            from += 1;
        } else if let Some((star_at, star_from)) = star {
            at = star_at + 1;
            from = star_from + 1;
            star = Some((star_at, from));
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(pattern: &str, path: &str, to_deny: bool) -> bool {
        RequestPath::parse(path).matches(&[PathPattern::parse(pattern).unwrap()], to_deny)
    }

    #[test]
    fn a_star_stands_for_anything() {
        assert!(hit("/v1/*", "/v1/a/b", false) && hit("/*/x", "/a/b/x", false) && hit("*", "/", false));
        assert!(!hit("/v1/*", "/v2/a", false) && !hit("/v1", "/v1/", false) && !hit("/V1", "/v1", false));
    }

    #[test]
    fn both_readings_must_be_allowed_and_one_is_enough_to_deny() {
        assert!(hit("/admin/*", "/%61dmin/x", true) && !hit("/admin/*", "/%61dmin/x", false));
        assert!(hit("/admin/*", "//admin/x", true) && !hit("/admin/*", "//admin/x", false));
        assert!(hit("/@scope*", "/@scope%2fpackage", false));
    }

    #[test]
    fn an_unclear_path_is_denied_and_never_allowed() {
        for path in [
            "/a/../b",
            "/a/%2e%2E/b",
            "/a/./b",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/%25%32e",
            "/%zz",
            "/%2",
            "",
            "a",
            "/..;x/a",
        ] {
            assert!(!RequestPath::parse(path).is_clear(), "{path}");
            assert!(hit("/x", path, true) && !hit("*", path, false), "{path}");
        }
        assert!(RequestPath::parse("/a..b/.hidden/...").is_clear());
    }
}
