//! What a DNS tunnel needs much of: queries and different names.
use crate::limits::{DNS_NAMES_PER_WINDOW, DNS_NAMES_WINDOW, DNS_QUERIES_PER_SECOND, DNS_QUERY_BURST};
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

#[derive(Default)]
pub struct DnsQuota {
    state: Option<State>,
    hasher: RandomState,
}

struct State {
    tokens: f64,
    refilled: Instant,
    window: Instant,
    names: HashSet<u64>,
}

impl DnsQuota {
    /// Counts one query; false where it is one too many.
    pub fn admit(&mut self, now: Instant) -> bool {
        let state = self.state.get_or_insert_with(|| State::new(now));
        let elapsed = now.saturating_duration_since(state.refilled).as_secs_f64();
        state.tokens = (state.tokens + elapsed * DNS_QUERIES_PER_SECOND).min(DNS_QUERY_BURST);
        state.refilled = now;
        let admitted = state.tokens >= 1.0;
        if admitted {
            state.tokens -= 1.0;
        }
        admitted
    }

    /// Counts a name that some rule allows; false where the window holds too many different ones.
    pub fn admit_name(&mut self, name: &str, now: Instant) -> bool {
        let hash = self.hasher.hash_one(name);
        let state = self.state.get_or_insert_with(|| State::new(now));
        if now.saturating_duration_since(state.window) >= DNS_NAMES_WINDOW {
            state.window = now;
            state.names.clear();
        }
        if state.names.contains(&hash) {
            return true;
        }
        state.names.len() < DNS_NAMES_PER_WINDOW && state.names.insert(hash)
    }
}

impl State {
    fn new(now: Instant) -> Self {
        Self {
            tokens: DNS_QUERY_BURST,
            refilled: now,
            window: now,
            names: HashSet::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn queries_come_back_with_time() {
        let (mut quota, now) = (DnsQuota::default(), Instant::now());
        let admitted = (0..1_000).filter(|_| quota.admit(now)).count();
        assert_eq!(admitted, DNS_QUERY_BURST as usize);
        assert!(quota.admit(now + Duration::from_secs(1)));
    }

    #[test]
    fn new_names_run_out_and_known_ones_do_not() {
        let (mut quota, now) = (DnsQuota::default(), Instant::now());
        let admitted = (0..1_000)
            .filter(|index| quota.admit_name(&format!("{index}.t.com"), now))
            .count();
        assert_eq!(admitted, DNS_NAMES_PER_WINDOW);
        assert!(quota.admit_name("0.t.com", now));
        assert!(quota.admit_name("new.t.com", now + DNS_NAMES_WINDOW));
    }
}
