//! A sandbox's open connections, so that a changed policy can cut those that it no longer allows.
use crate::limits::{REQUESTS_UNDER_WAY, SANDBOX_CONNECTIONS};
use crate::policy::document::Protocol;
use crate::policy::path::RequestPath;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

#[derive(Default)]
pub struct Live {
    next: AtomicU64,
    entries: Mutex<HashMap<u64, Arc<Entry>>>,
    ended: Arc<Notify>,
}

/// One connection. It leaves the list when its last holder drops it.
pub struct Entry {
    pub token: CancellationToken,
    pub to: SocketAddrV4,
    subject: Mutex<Subject>,
    requests: Mutex<HashMap<u64, Arc<UnderWay>>>,
    next_request: AtomicU64,
}

/// What a connection was allowed as.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subject {
    /// Nothing was decided yet; the decision looks at the generation of the rules itself.
    Pending,
    Raw {
        kind: Protocol,
        pinned: Vec<String>,
    },
    Tls {
        name: String,
        pinned: Vec<String>,
        dialled: Ipv4Addr,
    },
    Terminated {
        name: String,
    },
    Http,
}

pub struct UnderWay {
    pub scheme: Protocol,
    pub name: Option<String>,
    pub method: String,
    pub path: RequestPath,
}

pub struct Registered {
    id: u64,
    pub entry: Arc<Entry>,
    sandbox: Arc<super::Sandbox>,
}

impl Live {
    /// None when the sandbox has as many connections as it may.
    pub fn register(sandbox: &Arc<super::Sandbox>, to: SocketAddrV4) -> Option<Registered> {
        let live = &sandbox.live;
        let mut entries = live.lock();
        if entries.len() >= SANDBOX_CONNECTIONS {
            return None;
        }
        let id = live.next.fetch_add(1, Ordering::Relaxed);
        let entry = Arc::new(Entry {
            token: CancellationToken::new(),
            to,
            subject: Mutex::new(Subject::Pending),
            requests: Mutex::default(),
            next_request: AtomicU64::new(0),
        });
        entries.insert(id, entry.clone());
        Some(Registered {
            id,
            entry,
            sandbox: sandbox.clone(),
        })
    }

    /// Cuts what `keeps` refuses; returns how many, once their tasks are gone or the wait is over.
    pub async fn cut(&self, keeps: impl Fn(&Entry) -> bool, wait: std::time::Duration) -> usize {
        let cut: Vec<u64> = self
            .lock()
            .iter()
            .filter(|(_, entry)| !keeps(entry))
            .map(|(id, entry)| {
                entry.token.cancel();
                *id
            })
            .collect();
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if !cut.iter().any(|id| self.lock().contains_key(id)) {
                break;
            }
            if tokio::time::timeout_at(deadline, ended).await.is_err() {
                break;
            }
        }
        cut.len()
    }

    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    pub fn settle(&self, subject: Subject) {
        *self.subject.lock().unwrap_or_else(PoisonError::into_inner) = subject;
    }

    pub fn subject(&self) -> Subject {
        self.subject.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn requests(&self) -> Vec<Arc<UnderWay>> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.values().cloned().collect()
    }

    /// Notes a request until the guard is dropped; None when there are too many.
    pub fn begin(self: &Arc<Self>, request: UnderWay) -> Option<RequestGuard> {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if requests.len() >= REQUESTS_UNDER_WAY {
            return None;
        }
        let id = self.next_request.fetch_add(1, Ordering::Relaxed);
        requests.insert(id, Arc::new(request));
        Some(RequestGuard {
            id,
            entry: self.clone(),
        })
    }

    pub fn is_busy(&self) -> bool {
        !self.requests.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

pub struct RequestGuard {
    id: u64,
    entry: Arc<Entry>,
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let mut requests = self.entry.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.remove(&self.id);
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.sandbox.live.lock().remove(&self.id);
        self.sandbox.live.ended.notify_waiters();
    }
}
