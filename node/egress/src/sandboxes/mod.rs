//! One sandbox as the proxy knows it: by its source address.
pub mod live;
pub mod pins;
pub mod pool;
pub mod quota;
pub mod recheck;

use crate::limits::{SANDBOX_DNS_STREAMS, SANDBOX_DNS_UNDER_WAY};
use crate::policy::Policy;
use crate::secrets::Secrets;
use live::Live;
use pins::Pins;
use pool::Pool;
use quota::DnsQuota;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tokio::sync::Semaphore;

pub struct Sandbox {
    pub address: Ipv4Addr,
    rules: RwLock<Rules>,
    /// The policy's text: the same version with another one is an error.
    document: Mutex<String>,
    pins: Mutex<Pins>,
    dns: Mutex<DnsQuota>,
    pub dns_under_way: Semaphore,
    pub dns_streams: Arc<Semaphore>,
    pub live: Live,
    pub pool: Pool,
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
}

/// What is in force, read once per decision.
#[derive(Clone)]
pub struct Rules {
    /// Goes up with every change: a decision made under an older one is made again.
    pub generation: u64,
    pub policy: Arc<Policy>,
    pub secrets: Arc<Secrets>,
}

impl Sandbox {
    pub fn new(address: Ipv4Addr, policy: Arc<Policy>, sessions: pool::TlsConfigs) -> Self {
        Self {
            address,
            rules: RwLock::new(Rules {
                generation: 0,
                policy,
                secrets: Arc::default(),
            }),
            document: Mutex::default(),
            pins: Mutex::default(),
            dns: Mutex::default(),
            dns_under_way: Semaphore::new(SANDBOX_DNS_UNDER_WAY),
            dns_streams: Arc::new(Semaphore::new(SANDBOX_DNS_STREAMS)),
            live: Live::default(),
            pool: Pool::new(sessions),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
        }
    }

    pub fn rules(&self) -> Rules {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn change(&self, policy: Option<Arc<Policy>>, secrets: Option<Arc<Secrets>>) {
        let mut rules = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        rules.generation += 1;
        rules.policy = policy.unwrap_or_else(|| rules.policy.clone());
        rules.secrets = secrets.unwrap_or_else(|| rules.secrets.clone());
        drop(rules);
        self.pool.clear();
    }

    pub fn note_document(&self, text: String) {
        *self.document.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    pub fn has_document(&self, text: &str) -> bool {
        *self.document.lock().unwrap_or_else(PoisonError::into_inner) == text
    }

    pub fn pins(&self) -> MutexGuard<'_, Pins> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn dns(&self) -> MutexGuard<'_, DnsQuota> {
        self.dns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn count(&self, bytes_in: u64, bytes_out: u64) {
        self.bytes_in.fetch_add(bytes_in, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes_out, Ordering::Relaxed);
    }
}
