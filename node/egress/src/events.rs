//! What was decided, in a bounded ring that readers follow by cursor. A reader that missed some is told how many.
use crate::limits::{EVENT_BATCH, EVENT_BURST, EVENT_TEXT_BYTES, EVENTS, EVENTS_PER_SECOND, SANDBOXES};
use serde::Serialize;
use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;

#[derive(Serialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    pub seq: u64,
    pub at_unix_ms: u64,
    pub source: Ipv4Addr,
    /// dns, connection, request, secret
    pub kind: &'static str,
    /// allow, deny, transform, respond, open, cut
    pub action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Arc<str>>,
    pub reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// To the sandbox and from it, in bytes.
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub duration_ms: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Secrets whose placeholder stands where they are not bound.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unbound: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<&'static str>,
    /// Events of this source that were dropped before this one, because they came too fast.
    #[serde(skip_serializing_if = "is_zero")]
    pub suppressed: u64,
}

impl Event {
    pub fn new(source: Ipv4Addr, kind: &'static str, action: &'static str, reason: &'static str) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            seq: 0,
            at_unix_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            source,
            kind,
            action,
            rule: None,
            reason,
            protocol: None,
            host: None,
            address: None,
            port: None,
            method: None,
            path: None,
            status: None,
            bytes_in: 0,
            bytes_out: 0,
            duration_ms: 0,
            secrets: Vec::new(),
            unbound: Vec::new(),
            note: None,
            suppressed: 0,
        }
    }
}

/// Text of the sandbox: capped, without control characters (style rule 14).
pub fn clean(text: &str) -> String {
    let mut end = text.len().min(EVENT_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end]
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

#[derive(Default)]
pub struct Events {
    ring: Mutex<Ring>,
    added: Notify,
}

#[derive(Default)]
struct Ring {
    next: u64,
    kept: VecDeque<Arc<Event>>,
    budgets: HashMap<Ipv4Addr, Budget>,
}

/// One sandbox must not push out what others did.
struct Budget {
    tokens: f64,
    refilled: Instant,
    suppressed: u64,
}

impl Ring {
    /// How many were dropped before this one; None when it is dropped as well.
    fn admit(&mut self, source: Ipv4Addr, now: Instant) -> Option<u64> {
        if self.budgets.len() > SANDBOXES {
            self.budgets.clear();
        }
        let full = Budget {
            tokens: EVENT_BURST,
            refilled: now,
            suppressed: 0,
        };
        let budget = self.budgets.entry(source).or_insert(full);
        let elapsed = now.saturating_duration_since(budget.refilled).as_secs_f64();
        budget.tokens = (budget.tokens + elapsed * EVENTS_PER_SECOND).min(EVENT_BURST);
        budget.refilled = now;
        if budget.tokens < 1.0 {
            budget.suppressed += 1;
            return None;
        }
        budget.tokens -= 1.0;
        Some(std::mem::take(&mut budget.suppressed))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

pub struct Batch {
    pub events: Vec<Arc<Event>>,
    /// Where to go on.
    pub next: u64,
    /// Events between the cursor and the first one kept, which are gone.
    pub missed: u64,
}

impl Events {
    pub fn add(&self, mut event: Event) {
        let mut ring = self.lock();
        let Some(suppressed) = ring.admit(event.source, Instant::now()) else {
            return;
        };
        event.suppressed = suppressed;
        event.seq = ring.next;
        ring.next += 1;
        if ring.kept.len() == EVENTS {
            ring.kept.pop_front();
        }
        ring.kept.push_back(Arc::new(event));
        drop(ring);
        self.added.notify_waiters();
    }

    pub fn after(&self, cursor: u64, source: Option<Ipv4Addr>) -> Batch {
        let ring = self.lock();
        let first = ring.next - ring.kept.len() as u64;
        // A cursor from before a restart lies ahead of everything: begin again.
        let start = if cursor > ring.next { first } else { cursor.max(first) };
        let mut events = Vec::new();
        let mut next = start;
        for event in ring
            .kept
            .iter()
            .skip(usize::try_from(start - first).unwrap_or(usize::MAX))
        {
            if events.len() == EVENT_BATCH {
                break;
            }
            next = event.seq + 1;
            if source.is_none_or(|source| source == event.source) {
                events.push(event.clone());
            }
        }
        Batch {
            events,
            next,
            missed: first.saturating_sub(cursor),
        }
    }

    /// Waits until there is something behind the cursor.
    pub async fn wait(&self, cursor: u64) {
        loop {
            let added = self.added.notified();
            tokio::pin!(added);
            added.as_mut().enable();
            if self.lock().next > cursor {
                return;
            }
            added.await;
        }
    }

    pub fn next(&self) -> u64 {
        self.lock().next
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_fell_behind_is_told() {
        let events = Events::default();
        for index in 0..EVENTS + 5 {
            let source = Ipv4Addr::from(index as u32 % 100);
            events.add(Event::new(source, "dns", "deny", "default"));
        }
        let batch = events.after(0, None);
        assert_eq!(
            (batch.missed, batch.events.len(), batch.events[0].seq),
            (5, EVENT_BATCH, 5)
        );
        let rest = events.after(batch.next, Some(Ipv4Addr::BROADCAST));
        assert_eq!((rest.missed, rest.events.len()), (0, 0));
    }

    #[test]
    fn one_source_cannot_push_out_the_others() {
        let events = Events::default();
        events.add(Event::new(Ipv4Addr::LOCALHOST, "dns", "deny", "default"));
        for _ in 0..EVENTS * 2 {
            events.add(Event::new(Ipv4Addr::BROADCAST, "dns", "deny", "default"));
        }
        assert!(events.next() < EVENTS as u64);
        assert_eq!(events.after(0, Some(Ipv4Addr::LOCALHOST)).events.len(), 1);
    }

    #[test]
    fn texts_are_capped_and_plain() {
        assert_eq!(clean("a\nb"), "a?b");
        assert!(clean(&"é".repeat(1_000)).len() <= EVENT_TEXT_BYTES);
    }
}
