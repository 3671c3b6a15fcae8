//! From a name to addresses for one sandbox: asked upstream, held to the floor, pinned.
use super::message::Answer;
use super::upstream;
use crate::limits::{DNS_ADDRESSES, DNS_TTL_SECONDS};
use crate::proxy::Proxy;
use crate::sandboxes::Sandbox;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

#[derive(Debug, PartialEq, Eq)]
pub enum Resolved {
    Addresses {
        addresses: Vec<Ipv4Addr>,
        ttl_seconds: u32,
    },
    /// All that the name has is closed by the floor: rebinding, or a private host.
    Floored,
    NoName,
    Failed,
}

impl Proxy {
    /// The caller has decided that the name may be resolved.
    pub async fn resolve(&self, sandbox: &Sandbox, name: &str) -> Resolved {
        let now = Instant::now();
        if let Some(addresses) = sandbox.pins().fresh(name, now) {
            return Resolved::Addresses {
                addresses: self.admitted(&addresses),
                ttl_seconds: DNS_TTL_SECONDS.0,
            };
        }
        let (addresses, ttl_seconds) = match upstream::ask(&self.resolvers(), name).await {
            Answer::Addresses { addresses, ttl_seconds } => (addresses, ttl_seconds),
            Answer::NoName => return Resolved::NoName,
            Answer::Truncated | Answer::Failed => return Resolved::Failed,
        };
        let admitted = self.admitted(&addresses);
        if admitted.is_empty() && !addresses.is_empty() {
            return Resolved::Floored;
        }
        let ttl_seconds = ttl_seconds.clamp(DNS_TTL_SECONDS.0, DNS_TTL_SECONDS.1);
        if !admitted.is_empty() {
            let life = Duration::from_secs(ttl_seconds.into());
            sandbox.pins().put(name, &admitted, life, Instant::now());
        }
        Resolved::Addresses {
            addresses: admitted,
            ttl_seconds,
        }
    }

    fn admitted(&self, addresses: &[Ipv4Addr]) -> Vec<Ipv4Addr> {
        let floor = self.floor();
        let open = addresses
            .iter()
            .filter(|address| floor.admits_answer((**address).into()));
        open.take(DNS_ADDRESSES).copied().collect()
    }
}
