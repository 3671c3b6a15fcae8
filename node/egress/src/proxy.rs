//! Everything that the parts share: who is known, what is in force, and where it is written down.
use crate::events::Events;
use crate::floor::{Floor, FloorDocument};
use crate::sandboxes::Sandbox;
use crate::sandboxes::pool::TlsConfigs;
use crate::tcp::original::OriginalDestination;
use crate::tls::authority::Authority;
use crate::tls::upstream::client_configs;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

pub struct Proxy {
    pub original: Arc<dyn OriginalDestination>,
    pub events: Events,
    /// Another one after every start: a reader of events sees that its cursor is of an earlier life.
    pub instance: u64,
    roots: RwLock<Arc<rustls::RootCertStore>>,
    floor: RwLock<Arc<Floor>>,
    resolvers: RwLock<Arc<Vec<SocketAddr>>>,
    authority: RwLock<Option<Arc<Authority>>>,
    sandboxes: RwLock<HashMap<Ipv4Addr, Arc<Sandbox>>>,
    turn: Mutex<()>,
}

impl Proxy {
    pub fn new(
        original: Arc<dyn OriginalDestination>,
        roots: Arc<rustls::RootCertStore>,
        resolvers: Vec<SocketAddr>,
    ) -> Result<Self, String> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Ok(Self {
            original,
            events: Events::default(),
            instance: now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(0)),
            roots: RwLock::new(roots),
            floor: RwLock::new(Arc::new(Floor::compile(&FloorDocument::default())?)),
            resolvers: RwLock::new(Arc::new(resolvers)),
            authority: RwLock::default(),
            sandboxes: RwLock::default(),
            turn: Mutex::default(),
        })
    }

    /// One change of a policy at a time: versions are compared before they are set.
    pub fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn floor(&self) -> Arc<Floor> {
        read(&self.floor)
    }

    pub fn set_floor(&self, floor: Floor) {
        write(&self.floor, Arc::new(floor));
    }

    pub fn resolvers(&self) -> Arc<Vec<SocketAddr>> {
        read(&self.resolvers)
    }

    pub fn set_resolvers(&self, resolvers: Vec<SocketAddr>) {
        write(&self.resolvers, Arc::new(resolvers));
    }

    pub fn authority(&self) -> Option<Arc<Authority>> {
        read(&self.authority)
    }

    pub fn set_authority(&self, authority: Option<Arc<Authority>>) {
        write(&self.authority, authority);
    }

    pub fn sandbox(&self, address: Ipv4Addr) -> Option<Arc<Sandbox>> {
        self.sandboxes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&address)
            .cloned()
    }

    pub fn sandboxes(&self) -> Vec<Arc<Sandbox>> {
        self.sandboxes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    pub fn add(&self, sandbox: Arc<Sandbox>) {
        let mut sandboxes = self.sandboxes.write().unwrap_or_else(PoisonError::into_inner);
        sandboxes.insert(sandbox.address, sandbox);
    }

    pub fn take(&self, address: Ipv4Addr) -> Option<Arc<Sandbox>> {
        self.sandboxes
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&address)
    }

    pub fn tls_configs(&self) -> Result<TlsConfigs, String> {
        client_configs(&read(&self.roots))
    }
}

fn read<T: Clone>(cell: &RwLock<T>) -> T {
    cell.read().unwrap_or_else(PoisonError::into_inner).clone()
}

fn write<T>(cell: &RwLock<T>, value: T) {
    *cell.write().unwrap_or_else(PoisonError::into_inner) = value;
}
