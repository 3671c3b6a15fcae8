//! What each request does. An answer comes when the effect is there (invariant 1).
use super::command::{Command, ListenKind};
use crate::floor::{Floor, FloorDocument};
use crate::limits::SANDBOXES;
use crate::policy::Policy;
use crate::policy::document::PolicyDocument;
use crate::proxy::Proxy;
use crate::sandboxes::Sandbox;
use crate::secrets::Secrets;
use crate::secrets::document::SecretDocument;
use crate::secrets::encode::Wiped;
use crate::tls::authority::Authority;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::net::{TcpListener, UdpSocket};
use zeroize::Zeroizing;

pub struct Refused {
    pub code: &'static str,
    pub message: String,
}

pub type Answer = Result<Value, Refused>;

pub fn invalid(message: String) -> Refused {
    Refused {
        code: "invalid_request",
        message,
    }
}

impl Proxy {
    pub async fn apply(self: &Arc<Self>, command: Command, descriptors: &mut Vec<OwnedFd>) -> Answer {
        match command {
            Command::Policy { address, policy } => self.put_policy(address, policy).await,
            Command::Remove { address } => Ok(self.remove(address).await),
            Command::Floor { floor } => self.put_floor(&floor).await,
            Command::Secrets { address, secrets } => self.put_secrets(address, secrets).await,
            Command::Explain { address, url, method } => self.explain(address, &url, method.as_deref()),
            Command::Stats => Ok(self.stats()),
            Command::Ca {
                certificate,
                key,
                certificate_path,
                key_path,
            } => self.put_authority(certificate, key, certificate_path, key_path),
            Command::Resolvers { servers } => self.put_resolvers(servers),
            Command::Listen { kind } => self.listen(kind, descriptors.pop()),
            Command::Events { .. } => Err(invalid("events: ask on a connection of its own".to_owned())),
        }
    }

    async fn put_policy(&self, address: Ipv4Addr, document: PolicyDocument) -> Answer {
        let version = document.version;
        let cut = match self.swap_policy(address, document)? {
            Some(sandbox) => self.recheck(&sandbox).await,
            None => 0,
        };
        Ok(json!({ "version": version, "cut": cut }))
    }

    /// Compares and sets in one turn; None where the sandbox is new and has nothing to cut.
    fn swap_policy(&self, address: Ipv4Addr, document: PolicyDocument) -> Result<Option<Arc<Sandbox>>, Refused> {
        let text = json!(document).to_string();
        let policy = Policy::compile(&document)
            .map_err(|problem| invalid(format!("cannot set the policy of {address}: {problem}")))?;
        let version = policy.version;
        let _turn = self.turn();
        let Some(sandbox) = self.sandbox(address) else {
            if self.sandboxes().len() >= SANDBOXES {
                return Err(Refused {
                    code: "limit",
                    message: format!(
                        "cannot set the policy of {address}: the proxy holds {SANDBOXES}; remove one first"
                    ),
                });
            }
            let configs = self.tls_configs().map_err(|message| Refused {
                code: "internal",
                message,
            })?;
            let sandbox = Sandbox::new(address, Arc::new(policy), configs);
            sandbox.note_document(text);
            self.add(Arc::new(sandbox));
            return Ok(None);
        };
        let in_force = sandbox.rules().policy.version;
        if version < in_force || version == in_force && !sandbox.has_document(&text) {
            return Err(Refused {
                code: "stale_version",
                message: format!(
                    "cannot set the policy of {address} to version {version}: version {in_force} is in force; send a higher one"
                ),
            });
        }
        if version > in_force {
            sandbox.note_document(text);
            sandbox.change(Some(Arc::new(policy)), None);
        }
        Ok(Some(sandbox))
    }

    async fn remove(&self, address: Ipv4Addr) -> Value {
        let Some(sandbox) = self.take(address) else {
            return json!({ "removed": false, "cut": 0 });
        };
        let nothing = Policy {
            version: u64::MAX,
            otherwise: Default::default(),
            rules: Vec::new(),
        };
        sandbox.change(Some(Arc::new(nothing)), Some(Arc::default()));
        let cut = sandbox.live.cut(|_| false, crate::limits::CUT_WAIT).await;
        json!({ "removed": true, "cut": cut })
    }

    async fn put_floor(&self, document: &FloorDocument) -> Answer {
        self.set_floor(Floor::compile(document).map_err(invalid)?);
        let mut cut = 0;
        for sandbox in self.sandboxes() {
            sandbox.change(None, None);
            cut += self.recheck(&sandbox).await;
        }
        Ok(json!({ "cut": cut }))
    }

    async fn put_secrets(&self, address: Ipv4Addr, documents: Vec<SecretDocument>) -> Answer {
        let Some(sandbox) = self.sandbox(address) else {
            return Err(Refused {
                code: "not_found",
                message: format!("cannot set the secrets of {address}: it has no policy; set one first"),
            });
        };
        let secrets = Secrets::compile(documents).map_err(invalid)?;
        let names = secrets.names();
        sandbox.change(None, Some(Arc::new(secrets)));
        let cut = self.recheck(&sandbox).await;
        Ok(json!({ "secrets": names, "cut": cut }))
    }

    fn put_authority(
        &self,
        certificate: Option<String>,
        key: Option<Wiped>,
        certificate_path: Option<PathBuf>,
        key_path: Option<PathBuf>,
    ) -> Answer {
        let read = |path: PathBuf| {
            std::fs::read_to_string(&path).map_err(|error| invalid(format!("cannot read {}: {error}", path.display())))
        };
        let certificate = certificate.map_or_else(|| certificate_path.map(read).transpose(), |text| Ok(Some(text)))?;
        let key = key.map(|key| key.0).map_or_else(
            || key_path.map(|path| read(path).map(Zeroizing::new)).transpose(),
            |key| Ok(Some(key)),
        )?;
        match (certificate, key) {
            (Some(certificate), Some(key)) => {
                self.set_authority(Some(Arc::new(Authority::new(&certificate, &key).map_err(invalid)?)));
                Ok(json!({ "interception": true }))
            }
            (None, None) => {
                self.set_authority(None);
                Ok(json!({ "interception": false }))
            }
            _ => Err(invalid("ca takes both certificate and key, or neither".to_owned())),
        }
    }

    fn put_resolvers(&self, servers: Vec<SocketAddr>) -> Answer {
        if servers.is_empty() || servers.len() > 8 {
            return Err(invalid("resolvers takes 1 to 8 servers".to_owned()));
        }
        self.set_resolvers(servers);
        Ok(json!({}))
    }

    pub fn listen(self: &Arc<Self>, kind: ListenKind, descriptor: Option<OwnedFd>) -> Answer {
        let broken = |error: std::io::Error| invalid(format!("cannot listen on the descriptor given: {error}"));
        let descriptor = descriptor.ok_or_else(|| invalid("listen comes with one descriptor".to_owned()))?;
        match kind {
            ListenKind::Tcp | ListenKind::DnsTcp => {
                let socket = std::net::TcpListener::from(descriptor);
                socket.set_nonblocking(true).map_err(broken)?;
                let listener = TcpListener::from_std(socket).map_err(broken)?;
                let address = listener.local_addr().map_err(broken)?;
                match kind {
                    ListenKind::Tcp => tokio::spawn(crate::tcp::accept::connections(self.clone(), listener)),
                    _ => tokio::spawn(crate::dns::serve::streams(self.clone(), listener)),
                };
                Ok(json!({ "address": address }))
            }
            ListenKind::DnsUdp => {
                let socket = std::net::UdpSocket::from(descriptor);
                socket.set_nonblocking(true).map_err(broken)?;
                let socket = UdpSocket::from_std(socket).map_err(broken)?;
                let address = socket.local_addr().map_err(broken)?;
                tokio::spawn(crate::dns::serve::datagrams(self.clone(), socket));
                Ok(json!({ "address": address }))
            }
        }
    }

    fn stats(&self) -> Value {
        let sandboxes: Vec<Value> = self
            .sandboxes()
            .iter()
            .map(|sandbox| {
                let rules = sandbox.rules();
                json!({
                    "address": sandbox.address,
                    "version": rules.policy.version,
                    "secrets": rules.secrets.names(),
                    "connections": sandbox.live.count(),
                    "pinnedNames": sandbox.pins().len(),
                    "bytesIn": sandbox.bytes_in.load(Ordering::Relaxed),
                    "bytesOut": sandbox.bytes_out.load(Ordering::Relaxed),
                })
            })
            .collect();
        json!({
            "instance": self.instance,
            "nextEvent": self.events.next(),
            "interception": self.authority().is_some(),
            "sandboxes": sandboxes,
        })
    }
}
