//! The few DNS messages that the resolver speaks (RFC 1035). Everything else is an error.
use crate::name::normalise;
use std::net::Ipv4Addr;

pub const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
pub const TYPE_AAAA: u16 = 28;
pub const TYPE_SVCB: u16 = 64;
pub const TYPE_HTTPS: u16 = 65;
const CLASS_IN: u16 = 1;
const HEADER_BYTES: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    NoError = 0,
    FormatError = 1,
    ServerFailure = 2,
    NoName = 3,
    Refused = 5,
}

#[derive(Debug)]
pub struct Query {
    id: u16,
    recursion: bool,
    /// As sent: clients compare the letters' case.
    question: Vec<u8>,
    /// None when it is no host name.
    pub name: Option<String>,
    pub kind: u16,
}

impl Query {
    /// None when there is nothing that could be answered.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let header = packet.get(..HEADER_BYTES)?;
        let flags = u16::from_be_bytes([header[2], header[3]]);
        let questions = u16::from_be_bytes([header[4], header[5]]);
        let answers = u16::from_be_bytes([header[6], header[7]]);
        // A response, another operation, a truncated or a second question.
        if flags & 0b1111_1010_0000_0000 != 0 || questions != 1 || answers != 0 {
            return None;
        }
        let mut at = HEADER_BYTES;
        let mut labels = Vec::new();
        loop {
            let length = usize::from(*packet.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            // Longer is a compression pointer, which a question has nothing to point at with.
            if length > 63 || at - HEADER_BYTES + length > 254 {
                return None;
            }
            labels.push(packet.get(at..at + length)?);
            at += length;
        }
        let tail = packet.get(at..at + 4)?;
        let class = u16::from_be_bytes([tail[2], tail[3]]);
        let text = labels
            .iter()
            .map(|label| std::str::from_utf8(label).ok().filter(|text| !text.contains('.')));
        let name = text
            .collect::<Option<Vec<_>>>()
            .and_then(|labels| normalise(&labels.join(".")));
        Some(Self {
            id: u16::from_be_bytes([header[0], header[1]]),
            recursion: flags & 0x0100 != 0,
            question: packet[HEADER_BYTES..at + 4].to_vec(),
            name: name.filter(|_| class == CLASS_IN),
            kind: u16::from_be_bytes([tail[0], tail[1]]),
        })
    }

    pub fn answer(&self, code: Code, addresses: &[Ipv4Addr], ttl_seconds: u32) -> Vec<u8> {
        let recursion = if self.recursion { 0x0100 } else { 0 };
        let flags = 0x8080 | recursion | code as u16;
        let count = u16::try_from(addresses.len()).unwrap_or(0);
        let mut packet = Vec::with_capacity(HEADER_BYTES + self.question.len() + 16 * addresses.len());
        for word in [self.id, flags, 1, count, 0, 0] {
            packet.extend(word.to_be_bytes());
        }
        packet.extend(&self.question);
        for address in addresses {
            packet.extend([0xc0, HEADER_BYTES as u8, 0, TYPE_A as u8, 0, CLASS_IN as u8]);
            packet.extend(ttl_seconds.to_be_bytes());
            packet.extend([0, 4]);
            packet.extend(address.octets());
        }
        packet
    }
}

/// A question for one name's addresses.
pub fn question(id: u16, name: &str) -> Vec<u8> {
    let mut packet = Vec::with_capacity(HEADER_BYTES + name.len() + 6);
    for word in [id, 0x0100, 1, 0, 0, 0] {
        packet.extend(word.to_be_bytes());
    }
    for label in name.split('.') {
        packet.push(label.len() as u8);
        packet.extend(label.as_bytes());
    }
    packet.extend([0, 0, TYPE_A as u8, 0, CLASS_IN as u8]);
    packet
}

#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Addresses { addresses: Vec<Ipv4Addr>, ttl_seconds: u32 },
    NoName,
    Truncated,
    Failed,
}

/// Reads the answer to `question(id, name)`; None when it is not the answer to it.
pub fn read_answer(packet: &[u8], id: u16, name: &str) -> Option<Answer> {
    let header = packet.get(..HEADER_BYTES)?;
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let flags = word(2);
    if word(0) != id || flags & 0x8000 == 0 || word(4) != 1 {
        return None;
    }
    let (asked, mut at) = read_name(packet, HEADER_BYTES)?;
    if !asked.eq_ignore_ascii_case(name) {
        return None;
    }
    at += 4;
    if flags & 0x0200 != 0 {
        return Some(Answer::Truncated);
    }
    match flags & 0xf {
        0 => {}
        3 => return Some(Answer::NoName),
        _ => return Some(Answer::Failed),
    }
    let records = read_records(packet, at, word(6))?;
    Some(follow(&records, name))
}

enum Data {
    Address(Ipv4Addr),
    Alias(String),
}

struct Record {
    owner: String,
    ttl_seconds: u32,
    data: Data,
}

fn read_records(packet: &[u8], mut at: usize, count: u16) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    for _ in 0..count.min(64) {
        let (owner, end) = read_name(packet, at)?;
        let fixed = packet.get(end..end + 10)?;
        let kind = u16::from_be_bytes([fixed[0], fixed[1]]);
        let ttl_seconds = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
        let length = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        let start = end + 10;
        let data = packet.get(start..start + length)?;
        at = start + length;
        let data = match kind {
            TYPE_A => Data::Address(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?)),
            TYPE_CNAME => Data::Alias(read_name(packet, start)?.0),
            _ => continue,
        };
        records.push(Record {
            owner,
            ttl_seconds,
            data,
        });
    }
    Some(records)
}

/// From the name over its aliases to the addresses; what belongs to another owner does not count.
fn follow(records: &[Record], name: &str) -> Answer {
    let mut owner = name.to_ascii_lowercase();
    let mut ttl_seconds = u32::MAX;
    for _ in 0..16 {
        let mut addresses = Vec::new();
        let mut alias = None;
        for record in records.iter().filter(|record| record.owner == owner) {
            ttl_seconds = ttl_seconds.min(record.ttl_seconds);
            match &record.data {
                Data::Address(address) => addresses.push(*address),
                Data::Alias(target) => alias = Some(target.clone()),
            }
        }
        match alias {
            Some(target) if addresses.is_empty() => owner = target,
            _ => {
                return Answer::Addresses {
                    addresses,
                    ttl_seconds: ttl_seconds.min(86_400),
                };
            }
        }
    }
    Answer::Failed
}

/// A name with its compression; the jumps are bounded.
fn read_name(packet: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut end = None;
    for _ in 0..128 {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        match length {
            0 => return Some((name, end.unwrap_or(at))),
            1..=63 => {
                let label = std::str::from_utf8(packet.get(at..at + length)?).ok()?;
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(&label.to_ascii_lowercase());
                at += length;
            }
            _ if length & 0xc0 == 0xc0 => {
                let low = usize::from(*packet.get(at)?);
                end = end.or(Some(at + 1));
                at = (length & 0x3f) << 8 | low;
            }
            _ => return None,
        }
        if name.len() > 255 {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_and_answered_in_its_own_case() {
        let packet = question(7, "Api.Example.com");
        let query = Query::parse(&packet).unwrap();
        assert_eq!((query.name.as_deref(), query.kind), (Some("api.example.com"), TYPE_A));
        let reply = query.answer(Code::NoError, &[Ipv4Addr::new(1, 2, 3, 4)], 60);
        assert_eq!(reply[12..16], *b"\x03Api");
        let expected = Answer::Addresses {
            addresses: vec![Ipv4Addr::new(1, 2, 3, 4)],
            ttl_seconds: 60,
        };
        assert_eq!(read_answer(&reply, 7, "api.example.com"), Some(expected));
        assert_eq!(read_answer(&reply, 8, "api.example.com"), None);
        assert_eq!(read_answer(&reply, 7, "other.example.com"), None);
    }

    #[test]
    fn what_is_no_plain_query_is_refused() {
        let good = question(7, "a.com");
        let with = |at: usize, byte: u8| {
            let mut packet = good.clone();
            packet[at] = byte;
            packet
        };
        assert!(Query::parse(&with(2, 0x81)).is_none(), "a response");
        assert!(Query::parse(&with(5, 2)).is_none(), "two questions");
        assert!(Query::parse(&with(12, 0xc0)).is_none(), "a pointer");
        assert!(Query::parse(&good[..good.len() - 1]).is_none(), "cut short");
        assert_eq!(Query::parse(&with(13, b'.')).unwrap().name, None, "a dot in a label");
        assert_eq!(
            Query::parse(&with(good.len() - 1, 3)).unwrap().name,
            None,
            "class CHAOS"
        );
    }

    #[test]
    fn a_pointer_loop_ends() {
        let mut packet = question(7, "a.com");
        packet[2] = 0x80;
        packet[7] = 1;
        let at = packet.len() as u8;
        packet.extend([0xc0, at]);
        packet.extend([0; 20]);
        assert_eq!(read_answer(&packet, 7, "a.com"), None);
    }
}
