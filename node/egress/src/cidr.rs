//! Address ranges. IPv4-mapped and -translated IPv6 addresses count as the IPv4 address that they carry.
use std::net::{IpAddr, Ipv6Addr};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    base: IpAddr,
    bits: u8,
}

impl Cidr {
    /// `10.0.0.0/8`, or one address.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let base: IpAddr = address.parse().ok()?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { base, bits })
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                base.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                base.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}

/// The IPv4 address inside `::ffff:a.b.c.d`, `::a.b.c.d` and `64:ff9b::a.b.c.d`; any other address as it is.
pub fn canonical(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let nat64 = v6.octets()[..12] == Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0).octets()[..12];
    let compatible = v6.to_bits() >> 32 == 0 && v6.to_bits() > 1;
    if v6.to_ipv4_mapped().is_some() || nat64 || compatible {
        let low = (v6.to_bits() & u128::from(u32::MAX)) as u32;
        return IpAddr::V4(low.into());
    }
    address
}
