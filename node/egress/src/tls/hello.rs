//! The ClientHello, however it is cut into records and segments. Two readings of it are none.
use crate::limits::CLIENT_HELLO_BYTES;
use crate::name::normalise;

const RECORD_HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const EXTENSION_SERVER_NAME: u16 = 0;
const EXTENSION_ECH: u16 = 0xfe0d;

#[derive(Debug, PartialEq, Eq)]
pub enum Hello {
    /// More bytes are needed.
    Partial,
    /// Not a hello, too long, or ambiguous.
    Unclear,
    Whole {
        name: Option<String>,
        ech: bool,
    },
}

/// Whether the first byte can begin a TLS connection.
pub fn looks_like_tls(first: u8) -> bool {
    first == RECORD_HANDSHAKE
}

/// Reads as much of a hello as `bytes` holds.
pub fn read(bytes: &[u8]) -> Hello {
    if bytes.len() > CLIENT_HELLO_BYTES {
        return Hello::Unclear;
    }
    let mut message = Vec::new();
    let mut rest = bytes;
    loop {
        match wanted(&message) {
            None => return Hello::Unclear,
            Some(length) if message.len() == length => break,
            // More than the hello in the same records: nothing may follow it before the server speaks.
            Some(length) if message.len() > length => return Hello::Unclear,
            Some(_) => {}
        }
        let Some(header) = rest.get(..5) else {
            return partial(rest);
        };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if header[0] != RECORD_HANDSHAKE || header[1] != 3 || length == 0 || length > 16_384 {
            return Hello::Unclear;
        }
        let end = rest.len().min(5 + length);
        message.extend_from_slice(&rest[5..end]);
        if end < 5 + length {
            // A message that already says it is no hello need not be waited for.
            return if wanted(&message).is_some() {
                Hello::Partial
            } else {
                Hello::Unclear
            };
        }
        rest = &rest[end..];
    }
    parse(&message[4..]).unwrap_or(Hello::Unclear)
}

fn partial(rest: &[u8]) -> Hello {
    if rest.first().is_none_or(|byte| looks_like_tls(*byte)) {
        Hello::Partial
    } else {
        Hello::Unclear
    }
}

/// The length of the message with its header; None when it is no ClientHello or too long.
fn wanted(message: &[u8]) -> Option<usize> {
    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return None;
    }
    let Some(header) = message.get(..4) else {
        return Some(usize::MAX);
    };
    let length = usize::from(header[1]) << 16 | usize::from(header[2]) << 8 | usize::from(header[3]);
    (length <= CLIENT_HELLO_BYTES).then_some(length + 4)
}

fn parse(body: &[u8]) -> Option<Hello> {
    let mut reader = Reader(body);
    reader.take(2 + 32)?;
    let session = reader.list8()?;
    let suites = reader.list16()?;
    let compressions = reader.list8()?;
    if session.len() > 32 || suites.is_empty() || compressions.is_empty() {
        return None;
    }
    let mut hello = (None, false);
    let mut seen = Vec::new();
    if !reader.0.is_empty() {
        let mut extensions = Reader(reader.list16()?);
        while !extensions.0.is_empty() {
            let kind = extensions.word()?;
            let data = extensions.list16()?;
            if seen.contains(&kind) || seen.len() > 128 {
                return None;
            }
            seen.push(kind);
            match kind {
                EXTENSION_SERVER_NAME => hello.0 = Some(server_name(data)?),
                EXTENSION_ECH => hello.1 = true,
                _ => {}
            }
        }
    }
    reader.0.is_empty().then_some(Hello::Whole {
        name: hello.0,
        ech: hello.1,
    })
}

/// Exactly one host name.
fn server_name(data: &[u8]) -> Option<String> {
    let mut outer = Reader(data);
    let mut list = Reader(outer.list16()?);
    let kind = list.take(1)?;
    let name = list.list16()?;
    if kind != [0] || !list.0.is_empty() || !outer.0.is_empty() || name.ends_with(b".") {
        return None;
    }
    normalise(std::str::from_utf8(name).ok()?)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }

    fn word(&mut self) -> Option<u16> {
        let bytes = self.take(2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn list8(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.take(1)?[0]);
        self.take(length)
    }

    fn list16(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.word()?);
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::ServerName;
    use std::sync::Arc;

    fn real(name: &str) -> Vec<u8> {
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut bytes = Vec::new();
        let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        connection.write_tls(&mut bytes).unwrap();
        bytes
    }

    /// The same handshake message in records of `size` bytes.
    fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
        let records = hello[5..].chunks(size).map(|part| {
            let length = (part.len() as u16).to_be_bytes();
            [&[22, 3, 1, length[0], length[1]][..], part].concat()
        });
        records.collect::<Vec<_>>().concat()
    }

    #[test]
    fn a_real_hello_names_its_server_in_any_cut() {
        let hello = real("Api.Example.com");
        let whole = Hello::Whole {
            name: Some("api.example.com".into()),
            ech: false,
        };
        assert_eq!(read(&hello), whole);
        for size in [1, 3, 50] {
            let cut = in_records(&hello, size);
            assert_eq!(read(&cut), whole, "records of {size}");
            for end in 0..cut.len() {
                assert_eq!(read(&cut[..end]), Hello::Partial, "{end} bytes of records of {size}");
            }
        }
        assert_eq!(read(&real("1.2.3.4")), Hello::Whole { name: None, ech: false });
    }

    #[test]
    fn what_has_two_readings_is_unclear() {
        let hello = real("a.com");
        let mut longer = hello.clone();
        longer.extend(&hello);
        assert_ne!(
            read(&longer),
            Hello::Unclear,
            "a second record is early data's business"
        );
        let mut not_hello = hello.clone();
        not_hello[5] = 2;
        assert_eq!(read(&not_hello), Hello::Unclear);
        let mut version = hello.clone();
        version[1] = 2;
        assert_eq!(read(&version), Hello::Unclear);
        assert_eq!(read(b"GET / HTTP/1.1\r\n"), Hello::Unclear);
        assert_eq!(read(&[22, 3, 1, 0xff, 0xff]), Hello::Unclear);
        assert_eq!(read(&[22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff]), Hello::Unclear);
    }

    #[test]
    fn two_names_or_a_name_twice_are_unclear() {
        let body = |extensions: &[u8]| {
            let mut body = vec![3, 3];
            body.extend([0; 32]);
            body.extend([0, 0, 2, 0x13, 1, 1, 0]);
            body.extend((extensions.len() as u16).to_be_bytes());
            body.extend(extensions);
            body
        };
        let one = [0, 0, 0, 10, 0, 8, 0, 0, 5, b'a', b'.', b'c', b'o', b'm'];
        assert_eq!(
            parse(&body(&one)),
            Some(Hello::Whole {
                name: Some("a.com".into()),
                ech: false
            })
        );
        assert_eq!(parse(&body(&[one, one].concat())), None);
        let two = [0, 0, 0, 14, 0, 12, 0, 0, 3, b'a', b'.', b'c', 0, 0, 3, b'b', b'.', b'c'];
        assert_eq!(parse(&body(&two)), None);
        let ech = [one.as_slice(), &[0xfe, 0x0d, 0, 0]].concat();
        assert_eq!(
            parse(&body(&ech)),
            Some(Hello::Whole {
                name: Some("a.com".into()),
                ech: true
            })
        );
    }
}
