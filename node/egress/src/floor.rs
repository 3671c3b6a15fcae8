//! The host's floor: what no policy can open (invariant 6).
use crate::cidr::{Cidr, canonical};
use crate::limits::FLOOR_ENTRIES;
use crate::name::Pattern;
use serde::Deserialize;
use std::net::IpAddr;

/// Loopback, private, shared, link-local with the metadata addresses, benchmark, multicast, reserved.
const DENIED: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/127",
    "fc00::/7",
    "fe80::/10",
    "ff00::/8",
    "fd00:ec2::254/128",
    "2002::/16",
    "2001::/32",
];
const DENIED_NAMES: &[&str] = &[
    "localhost",
    "*.localhost",
    "metadata.google.internal",
    "metadata",
    "instance-data",
    "instance-data.ec2.internal",
];

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FloorDocument {
    /// More ranges, the host's own addresses among them.
    #[serde(default)]
    pub deny: Vec<String>,
    #[serde(default)]
    pub deny_names: Vec<String>,
    /// Exceptions that the operator makes, such as a package mirror in a private network.
    #[serde(default)]
    pub allow: Vec<Exception>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    pub cidr: String,
    #[serde(default)]
    pub ports: Vec<u16>,
}

pub struct Floor {
    /// What the operator closes: no exception opens it.
    closed: Vec<Cidr>,
    denied: Vec<Cidr>,
    denied_names: Vec<Pattern>,
    allowed: Vec<(Cidr, Vec<u16>)>,
}

impl Floor {
    pub fn compile(document: &FloorDocument) -> Result<Self, String> {
        let entries = document.deny.len() + document.deny_names.len() + document.allow.len();
        if entries > FLOOR_ENTRIES {
            return Err(format!("the floor has {entries} entries; the limit is {FLOOR_ENTRIES}"));
        }
        let range = |text: &str| Cidr::parse(text).ok_or_else(|| format!("floor: {text:?} is no address range"));
        let name = |text: &str| Pattern::parse(text).ok_or_else(|| format!("floor: {text:?} is no host pattern"));
        let given_names = document.deny_names.iter().map(String::as_str);
        Ok(Self {
            closed: document.deny.iter().map(|text| range(text)).collect::<Result<_, _>>()?,
            denied: DENIED.iter().copied().map(range).collect::<Result<_, _>>()?,
            denied_names: DENIED_NAMES
                .iter()
                .copied()
                .chain(given_names)
                .map(name)
                .collect::<Result<_, _>>()?,
            allowed: document
                .allow
                .iter()
                .map(|exception| Ok((range(&exception.cidr)?, exception.ports.clone())))
                .collect::<Result<_, String>>()?,
        })
    }

    /// Whether the proxy may dial this address and port.
    pub fn admits(&self, address: IpAddr, port: u16) -> bool {
        self.excepted(address, Some(port)) || !self.denies(address)
    }

    /// Whether an answer may hold this address: some port of it may be dialled.
    pub fn admits_answer(&self, address: IpAddr) -> bool {
        self.excepted(address, None) || !self.denies(address)
    }

    pub fn admits_name(&self, name: &str) -> bool {
        !self.denied_names.iter().any(|pattern| pattern.matches(name))
    }

    fn denies(&self, address: IpAddr) -> bool {
        within(&self.closed, address) || within(&self.denied, address)
    }

    fn excepted(&self, address: IpAddr, port: Option<u16>) -> bool {
        let plain = canonical(address);
        let opened = self.allowed.iter().any(|(range, ports)| {
            range.contains(plain) && (ports.is_empty() || port.is_none_or(|port| ports.contains(&port)))
        });
        opened && !within(&self.closed, address)
    }
}

fn within(ranges: &[Cidr], address: IpAddr) -> bool {
    let plain = canonical(address);
    ranges
        .iter()
        .any(|range| range.contains(plain) || range.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(floor: &Floor, address: &str) -> bool {
        floor.admits(address.parse().unwrap(), 443)
    }

    #[test]
    fn the_default_floor_closes_what_is_not_public() {
        let floor = Floor::compile(&FloorDocument::default()).unwrap();
        for closed in [
            "127.0.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "172.31.255.255",
            "192.168.0.1",
            "100.64.0.1",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "::ffff:169.254.169.254",
            "::ffff:10.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "::127.0.0.1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(!admits(&floor, closed), "{closed}");
        }
        for open in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
        ] {
            assert!(admits(&floor, open), "{open}");
        }
        assert!(!floor.admits_name("metadata.google.internal") && floor.admits_name("example.com"));
    }

    #[test]
    fn only_the_operator_makes_exceptions() {
        let document: FloorDocument = serde_json::from_str(
            r#"{"deny":["93.184.216.34"],"denyNames":["*.corp"],"allow":[{"cidr":"10.9.0.0/16","ports":[443]},{"cidr":"93.184.0.0/16"}]}"#,
        )
        .unwrap();
        let floor = Floor::compile(&document).unwrap();
        assert!(!admits(&floor, "93.184.216.34") && admits(&floor, "93.184.216.35"));
        assert!(admits(&floor, "10.9.1.1") && !floor.admits("10.9.1.1".parse().unwrap(), 22));
        assert!(!admits(&floor, "10.8.1.1") && !floor.admits_name("vault.corp"));
        assert!(
            Floor::compile(&FloorDocument {
                deny: vec!["nonsense".into()],
                ..Default::default()
            })
            .is_err()
        );
    }
}
