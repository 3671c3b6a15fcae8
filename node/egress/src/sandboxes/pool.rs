//! Upstream connections kept for the next request: of one sandbox, under one set of rules, never shared.
use crate::http::body::Body;
use crate::limits::{IDLE_UPSTREAMS, UPSTREAM_IDLE};
use hyper::client::conn::{http1, http2};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// TLS towards upstreams, with a session cache of the sandbox's own.
pub struct TlsConfigs {
    pub any: Arc<rustls::ClientConfig>,
    /// For WebSockets, which begin in HTTP/1.1.
    pub http1: Arc<rustls::ClientConfig>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Key {
    pub host: String,
    pub port: u16,
    pub tls: bool,
}

pub enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

pub struct Pool {
    pub tls: TlsConfigs,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Goes up when the rules change: what was dialled under earlier ones is not kept.
    generation: u64,
    idle: Vec<(Key, Sender, Instant)>,
}

impl Pool {
    pub fn new(tls: TlsConfigs) -> Self {
        Self {
            tls,
            state: Mutex::default(),
        }
    }

    pub fn generation(&self) -> u64 {
        self.lock().generation
    }

    pub fn take(&self, key: &Key) -> Option<Sender> {
        let mut state = self.lock();
        let now = Instant::now();
        state
            .idle
            .retain(|(_, sender, since)| !sender.is_closed() && now.duration_since(*since) < UPSTREAM_IDLE);
        let index = state
            .idle
            .iter()
            .rposition(|(known, sender, _)| known == key && sender.is_ready())?;
        if let Sender::Http2(sender) = &state.idle[index].1 {
            let sender = sender.clone();
            state.idle[index].2 = now;
            return Some(Sender::Http2(sender));
        }
        Some(state.idle.swap_remove(index).1)
    }

    pub fn put(&self, key: Key, sender: Sender, generation: u64) {
        let mut state = self.lock();
        if state.generation != generation || sender.is_closed() {
            return;
        }
        if state.idle.len() >= IDLE_UPSTREAMS {
            state.idle.remove(0);
        }
        state.idle.push((key, sender, Instant::now()));
    }

    pub fn clear(&self) {
        let mut state = self.lock();
        state.generation += 1;
        state.idle.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sender {
    fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }

    fn is_ready(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_ready(),
            Self::Http2(sender) => sender.is_ready(),
        }
    }
}
