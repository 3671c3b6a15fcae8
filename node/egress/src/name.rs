//! Host names, in the one form in which they are compared, and the patterns of rules.
use std::net::Ipv4Addr;

/// Lower case, no final dot, letters, digits, `-` and `_` only; None for what is no such name, addresses included.
pub fn normalise(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() || text.len() > 253 {
        return None;
    }
    let valid = text.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    });
    // `0x7f.1` and `2130706433` are addresses to some clients; no top-level domain starts with a digit.
    let last = text.rsplit('.').next().unwrap_or(text);
    if !valid || last.as_bytes()[0].is_ascii_digit() {
        return None;
    }
    Some(text.to_ascii_lowercase())
}

/// `host` or `host:port` as in a Host header; the port is None where it is not given.
pub fn authority(text: &str) -> Option<(Host, Option<u16>)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => {
            let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            (host, Some(port.parse().ok().filter(|_| digits)?))
        }
        None => (text, None),
    };
    match host.parse::<Ipv4Addr>() {
        Ok(address) => Some((Host::Address(address), port)),
        Err(_) => Some((Host::Name(normalise(host)?), port)),
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    Name(String),
    Address(Ipv4Addr),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// `api.example.com`
    Exact(String),
    /// `*.example.com`, kept as `.example.com`: subdomains at any depth, not the apex.
    Subdomains(String),
    /// `*`
    Any,
}

impl Pattern {
    pub fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        match text.strip_prefix("*.") {
            Some(suffix) => normalise(suffix).map(|name| Self::Subdomains(format!(".{name}"))),
            None => normalise(text).map(Self::Exact),
        }
    }

    /// `name` is normalised.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Subdomains(suffix) => name.len() > suffix.len() && name.ends_with(suffix.as_str()),
            Self::Any => true,
        }
    }

    /// How many bytes of the name the sandbox chose freely.
    pub fn free_bytes(&self, name: &str) -> usize {
        match self {
            Self::Exact(_) => 0,
            Self::Subdomains(suffix) => name.len().saturating_sub(suffix.len()),
            // A registrable domain has to be paid for: what stands before it is free.
            Self::Any => name.rmatch_indices('.').nth(1).map_or(0, |(index, _)| index),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_form() {
        assert_eq!(normalise("API.Example.com.").as_deref(), Some("api.example.com"));
        for wrong in [
            "",
            ".",
            "a..b",
            "a b",
            "10.0.0.1",
            "2130706433",
            "0x7f.1",
            "exa\0mple.com",
            "a/b",
            "::1",
        ] {
            assert_eq!(normalise(wrong), None, "{wrong:?}");
        }
        assert_eq!(normalise(&format!("{}.com", "a".repeat(64))), None);
    }

    #[test]
    fn a_wildcard_is_not_the_apex() {
        let pattern = Pattern::parse("*.Example.com").unwrap();
        assert!(pattern.matches("a.example.com") && pattern.matches("a.b.example.com"));
        assert!(!pattern.matches("example.com") && !pattern.matches("notexample.com"));
        assert!(!Pattern::parse("example.com").unwrap().matches("a.example.com"));
        assert_eq!(Pattern::parse("a.*.com"), None);
        assert_eq!(Pattern::parse("1.2.3.4"), None);
    }

    #[test]
    fn an_authority_is_a_name_or_an_address_with_a_port() {
        assert_eq!(authority("A.com:8080"), Some((Host::Name("a.com".into()), Some(8080))));
        assert_eq!(
            authority("1.2.3.4"),
            Some((Host::Address(Ipv4Addr::new(1, 2, 3, 4)), None))
        );
        for wrong in [
            "a.com:",
            "a.com:+80",
            "a.com:99999",
            "u@a.com",
            "[::1]:80",
            "a.com:80:80",
        ] {
            assert_eq!(authority(wrong), None, "{wrong}");
        }
    }
}
