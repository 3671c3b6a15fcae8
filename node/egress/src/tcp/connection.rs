//! One connection: what does it want to reach, may it, and by which way.
use super::dial::reset;
use super::look::{Opening, look};
use super::prefixed::Meter;
use crate::events::{Event, clean};
use crate::limits::{HANDSHAKE_WAIT, SERVER_FIRST_WAIT};
use crate::policy::Reason;
use crate::policy::decide::{Destination, Plan, Route, Verdict};
use crate::policy::document::Protocol;
use crate::proxy::Proxy;
use crate::sandboxes::live::{Registered, Subject};
use crate::sandboxes::{Rules, Sandbox};
use std::sync::Arc;
use std::time::Instant;
use tokio::net::TcpStream;

pub struct Connection {
    pub proxy: Arc<Proxy>,
    pub sandbox: Arc<Sandbox>,
    pub registered: Arc<Registered>,
    pub meter: Arc<Meter>,
    pub started: Instant,
}

/// Where an allowed connection goes.
enum Way {
    Relay {
        verdict: Verdict,
        route: Route,
        subject: Subject,
    },
    Terminate {
        name: String,
    },
    Clear,
    Refuse(Verdict),
}

impl Connection {
    pub async fn handle(self, mut client: TcpStream) {
        let token = self.registered.entry.token.clone();
        let opening = tokio::select! {
            () = token.cancelled() => None,
            opening = self.open(&mut client) => Some(opening),
        };
        let Some(opening) = opening else {
            self.note(
                "cut",
                &Verdict {
                    rule: None,
                    reason: Reason::PolicyChanged,
                },
                &Opening::default(),
            );
            return reset(client);
        };
        let way = self.decide(&opening);
        match way {
            Way::Refuse(verdict) => self.refuse(client, opening, verdict).await,
            Way::Relay {
                verdict,
                route,
                subject,
            } => self.pass(client, opening, verdict, route, subject).await,
            Way::Terminate { name } => self.terminate(client, opening, name).await,
            Way::Clear => self.clear(client, opening).await,
        }
    }

    /// Reads what the sandbox sends first, unless the destination alone decides.
    async fn open(&self, client: &mut TcpStream) -> Opening {
        let (rules, pinned) = (self.sandbox.rules(), self.pinned());
        let to = self.to(&pinned);
        if rules.policy.raw(to, None) != Plan::Look {
            return Opening::default();
        }
        let silence_passes = matches!(rules.policy.raw(to, Some(Protocol::Tcp)), Plan::Pass(..));
        look(
            client,
            if silence_passes {
                SERVER_FIRST_WAIT
            } else {
                HANDSHAKE_WAIT
            },
        )
        .await
    }

    /// Decides, and again when the rules changed while it did: either the one who changed them sees what was
    /// decided, or this sees the change.
    fn decide(&self, opening: &Opening) -> Way {
        let entry = &self.registered.entry;
        loop {
            let rules = self.sandbox.rules();
            let way = self.decide_once(opening, &rules);
            entry.settle(match &way {
                Way::Relay { subject, .. } => subject.clone(),
                Way::Terminate { name } => Subject::Terminated { name: name.clone() },
                Way::Clear => Subject::Http,
                Way::Refuse(_) => Subject::Pending,
            });
            if self.sandbox.rules().generation == rules.generation {
                return way;
            }
        }
    }

    fn decide_once(&self, opening: &Opening, rules: &Rules) -> Way {
        let pinned = self.pinned();
        let to = self.to(&pinned);
        let (kind, plan) = match opening.kind {
            None => (Protocol::Tcp, rules.policy.raw(to, Some(Protocol::Tcp))),
            Some(Protocol::Http) => match rules.policy.raw(to, None) {
                Plan::Look => return Way::Clear,
                plan => (Protocol::Tcp, plan),
            },
            Some(Protocol::Tls) => match &opening.name {
                Some(name) => return self.decide_tls(name, to, rules),
                None => (Protocol::Tls, rules.policy.raw(to, Some(Protocol::Tls))),
            },
            Some(kind) => (kind, rules.policy.raw(to, Some(kind))),
        };
        match plan {
            Plan::Pass(verdict, route) => Way::Relay {
                verdict,
                route,
                subject: Subject::Raw { kind, pinned },
            },
            Plan::Deny(verdict) => Way::Refuse(verdict),
            Plan::Terminate | Plan::Look => Way::Refuse(Verdict {
                rule: None,
                reason: Reason::NoName,
            }),
        }
    }

    fn decide_tls(&self, name: &str, to: Destination<'_>, rules: &Rules) -> Way {
        let is_pinned = to.pinned.iter().any(|pin| pin == name);
        let not_pinned = |rule| {
            Way::Refuse(Verdict {
                rule,
                reason: Reason::NotPinned,
            })
        };
        match rules.policy.tls(name, to, rules.secrets.binds(name, to.port)) {
            Plan::Pass(verdict, Route::Name) if !is_pinned => not_pinned(verdict.rule),
            Plan::Terminate if !is_pinned => not_pinned(None),
            Plan::Pass(verdict, route) => {
                let subject = Subject::Tls {
                    name: name.to_owned(),
                    pinned: to.pinned.to_vec(),
                    dialled: to.address,
                };
                Way::Relay {
                    verdict,
                    route,
                    subject,
                }
            }
            Plan::Terminate if self.proxy.authority().is_none() => Way::Refuse(Verdict {
                rule: None,
                reason: Reason::NoInterception,
            }),
            Plan::Terminate => Way::Terminate { name: name.to_owned() },
            Plan::Deny(verdict) => Way::Refuse(verdict),
            Plan::Look => Way::Refuse(Verdict {
                rule: None,
                reason: Reason::Unclear,
            }),
        }
    }

    fn pinned(&self) -> Vec<String> {
        self.sandbox
            .pins()
            .names_of(*self.registered.entry.to.ip(), Instant::now())
    }

    fn to<'a>(&self, pinned: &'a [String]) -> Destination<'a> {
        let to = self.registered.entry.to;
        Destination {
            address: *to.ip(),
            port: to.port(),
            pinned,
        }
    }

    pub fn note(&self, action: &'static str, verdict: &Verdict, opening: &Opening) {
        let to = self.registered.entry.to;
        let mut event = Event::new(self.sandbox.address, "connection", action, verdict.reason.code());
        event.rule.clone_from(&verdict.rule);
        event.protocol = Some(match opening.kind {
            Some(Protocol::Tls) => "tls",
            Some(Protocol::Http) => "http",
            _ => "tcp",
        });
        event.host = opening.name.as_deref().map(clean);
        event.address = Some(*to.ip());
        event.port = Some(to.port());
        (event.bytes_in, event.bytes_out) = self.meter.read();
        event.duration_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        event.note = opening.ech.then_some("ech");
        if action != "open" {
            self.sandbox.count(event.bytes_in, event.bytes_out);
        }
        self.proxy.events.add(event);
    }
}
