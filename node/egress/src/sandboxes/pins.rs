//! Which addresses this sandbox got for which name, and until when they count.
use crate::limits::{PIN_LIFE, PINS};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

#[derive(Default)]
pub struct Pins {
    names: HashMap<String, Pin>,
}

struct Pin {
    /// Every answer keeps its own end: a name with changing answers stays reachable at the earlier ones.
    addresses: Vec<(Ipv4Addr, Instant)>,
    /// Until then the newest answer serves for dialling.
    fresh_until: Instant,
    newest: Vec<Ipv4Addr>,
}

impl Pins {
    pub fn put(&mut self, name: &str, addresses: &[Ipv4Addr], ttl: Duration, now: Instant) {
        let until = now + (ttl * 2).clamp(PIN_LIFE.0, PIN_LIFE.1);
        if !self.names.contains_key(name) && self.names.len() >= PINS {
            self.evict(now);
        }
        let pin = self.names.entry(name.to_owned()).or_insert_with(|| Pin {
            addresses: Vec::new(),
            fresh_until: now,
            newest: Vec::new(),
        });
        pin.addresses
            .retain(|(address, end)| *end > now && !addresses.contains(address));
        pin.addresses.extend(addresses.iter().map(|address| (*address, until)));
        // Bounded: the oldest answers of a name that never repeats itself go first.
        let surplus = pin.addresses.len().saturating_sub(64);
        pin.addresses.drain(..surplus);
        pin.fresh_until = now + ttl;
        pin.newest = addresses.to_vec();
    }

    pub fn names_of(&self, address: Ipv4Addr, now: Instant) -> Vec<String> {
        self.names
            .iter()
            .filter(|(_, pin)| pin.addresses.iter().any(|(known, end)| *known == address && *end > now))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// The newest answer while its TTL lasts.
    pub fn fresh(&self, name: &str, now: Instant) -> Option<Vec<Ipv4Addr>> {
        let pin = self.names.get(name).filter(|pin| pin.fresh_until > now)?;
        Some(pin.newest.clone())
    }

    pub fn addresses(&self, name: &str, now: Instant) -> Vec<Ipv4Addr> {
        let pin = self
            .names
            .get(name)
            .map(|pin| pin.addresses.as_slice())
            .unwrap_or_default();
        pin.iter()
            .filter(|(_, end)| *end > now)
            .map(|(address, _)| *address)
            .collect()
    }

    /// Forgets what a new policy or floor would not resolve any more.
    pub fn keep(&mut self, mut wanted: impl FnMut(&str) -> bool) {
        self.names.retain(|name, _| wanted(name));
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    fn evict(&mut self, now: Instant) {
        self.names
            .retain(|_, pin| pin.addresses.iter().any(|(_, end)| *end > now));
        if self.names.len() >= PINS {
            let oldest = self
                .names
                .iter()
                .min_by_key(|(_, pin)| pin.fresh_until)
                .map(|(name, _)| name.clone());
            oldest.and_then(|name| self.names.remove(&name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 1);
    const B: Ipv4Addr = Ipv4Addr::new(2, 2, 2, 2);

    #[test]
    fn a_pin_outlives_its_ttl_and_ends() {
        let (mut pins, now) = (Pins::default(), Instant::now());
        pins.put("a.com", &[A], Duration::from_secs(5), now);
        pins.put("a.com", &[B], Duration::from_secs(5), now + Duration::from_secs(10));
        let later = now + Duration::from_secs(60);
        assert_eq!(pins.names_of(A, later), ["a.com"]);
        assert_eq!(pins.fresh("a.com", later), None);
        assert!(pins.names_of(A, now + PIN_LIFE.0).is_empty());
        assert!(pins.names_of(Ipv4Addr::new(3, 3, 3, 3), now).is_empty());
    }

    #[test]
    fn pins_are_bounded_and_the_oldest_goes() {
        let (mut pins, now) = (Pins::default(), Instant::now());
        for index in 0..=PINS {
            let at = now + Duration::from_millis(index as u64);
            pins.put(&format!("n{index}.com"), &[A], Duration::from_secs(60), at);
        }
        assert_eq!(pins.len(), PINS);
        assert!(pins.addresses("n0.com", now).is_empty() && !pins.addresses("n1.com", now).is_empty());
    }
}
