//! First match wins. The same function decides, explains, and decides again when a policy changes.
use super::compile::{Action, Policy, Rule, Target};
use super::document::{Otherwise, Protocol};
use super::path::RequestPath;
use super::reason::Reason;
use std::net::Ipv4Addr;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub rule: Option<Arc<str>>,
    pub reason: Reason,
}

/// How an allowed destination is dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// By the name, which the proxy resolves itself.
    Name,
    /// The original address.
    Address,
}

/// What happens to a connection before a request of it is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    Pass(Verdict, Route),
    /// A rule or a secret wants to see requests.
    Terminate,
    /// What the sandbox sends first is needed.
    Look,
    Deny(Verdict),
}

#[derive(Clone)]
pub struct Decision {
    pub verdict: Verdict,
    pub action: Action,
    pub route: Route,
}

#[derive(Clone, Copy)]
pub struct Destination<'a> {
    pub address: Ipv4Addr,
    pub port: u16,
    /// Names for which this sandbox got this address from us.
    pub pinned: &'a [String],
}

impl Policy {
    /// May this name be resolved? Some rule has to make a connection to it possible, or say protocol dns.
    pub fn resolve(&self, name: &str) -> (bool, Verdict, usize) {
        for rule in &self.rules {
            let Target::Host(pattern) = &rule.target else { continue };
            if !pattern.matches(name) {
                continue;
            }
            match rule.action {
                Action::Deny if rule.matcher.is_some() || !rule.ports.is_empty() => {}
                Action::Deny if !matches!(rule.protocol, None | Some(Protocol::Dns)) => {}
                Action::Deny => return (false, rule.verdict(), 0),
                _ => return (true, rule.verdict(), pattern.free_bytes(name)),
            }
        }
        (
            self.otherwise == Otherwise::Allow,
            self.default(),
            crate::name::Pattern::Any.free_bytes(name),
        )
    }

    /// Decides a TLS connection by its SNI. `secret` says that a secret is bound to the name.
    pub fn tls(&self, name: &str, to: Destination<'_>, secret: bool) -> Plan {
        for rule in &self.rules {
            let route = match &rule.target {
                Target::Host(pattern) => match rule.protocol {
                    None | Some(Protocol::Tls) if pattern.matches(name) => Route::Name,
                    // A tcp rule is by address, and the SNI still has to be the host's.
                    Some(Protocol::Tcp) if pattern.matches(name) && to.pinned.iter().any(|pin| pin == name) => {
                        Route::Address
                    }
                    _ => continue,
                },
                Target::Range(_) if !matches!(rule.protocol, Some(Protocol::Http)) && rule.in_range(to) => {
                    Route::Address
                }
                Target::Range(_) => continue,
            };
            if !rule.admits_port(to.port, &[443]) {
                continue;
            }
            if route == Route::Name && (rule.needs_sight() || secret && !matches!(rule.action, Action::Deny)) {
                return Plan::Terminate;
            }
            return rule.plan(route);
        }
        match self.otherwise {
            Otherwise::Allow if secret => Plan::Terminate,
            Otherwise::Allow => Plan::Pass(self.default(), Route::Address),
            Otherwise::Deny => Plan::Deny(self.default()),
        }
    }

    /// Decides what has no name of its own: tcp, and TLS without SNI. With nothing seen yet the answer may be
    /// to look: what is sent first can name a host.
    pub fn raw(&self, to: Destination<'_>, seen: Option<Protocol>) -> Plan {
        for rule in &self.rules {
            let matched = match &rule.target {
                Target::Host(pattern) => to.pinned.iter().any(|name| pattern.matches(name)),
                Target::Range(_) => rule.in_range(to),
            };
            let is_host = matches!(rule.target, Target::Host(_));
            match rule.protocol {
                Some(Protocol::Dns) => {}
                _ if !matched => {}
                Some(Protocol::Tcp) if rule.admits_port(to.port, &[]) => return rule.plan(Route::Address),
                None if !is_host && rule.admits_port(to.port, &[]) => return rule.plan(Route::Address),
                None | Some(Protocol::Http | Protocol::Tls) if rule.admits_port(to.port, &[80, 443]) => {
                    if seen.is_none() {
                        return Plan::Look;
                    }
                    if !is_host && rule.protocol == seen {
                        return rule.plan(Route::Address);
                    }
                    // Unnamed bytes to an address of a denied host: under default allow nothing else would stop them.
                    if matches!(rule.action, Action::Deny) && rule.matcher.is_none() && rule.protocol.is_none() {
                        return Plan::Deny(rule.verdict());
                    }
                }
                _ => {}
            }
        }
        match self.otherwise {
            _ if seen.is_none() => Plan::Look,
            Otherwise::Allow => Plan::Pass(self.default(), Route::Address),
            Otherwise::Deny => Plan::Deny(Verdict {
                rule: None,
                reason: Reason::NoName,
            }),
        }
    }

    /// Decides one request. `name` is None where the Host is an address.
    pub fn request(
        &self,
        scheme: Protocol,
        name: Option<&str>,
        to: Destination<'_>,
        method: &str,
        path: &RequestPath,
    ) -> Decision {
        let usual: &[u16] = if scheme == Protocol::Tls { &[443] } else { &[80] };
        for rule in &self.rules {
            let route = match &rule.target {
                Target::Host(pattern) if name.is_some_and(|name| pattern.matches(name)) => Route::Name,
                Target::Range(_) if rule.in_range(to) => Route::Address,
                _ => continue,
            };
            let of_protocol = match rule.protocol {
                None => true,
                Some(Protocol::Tcp) => route == Route::Address,
                Some(protocol) => protocol == scheme,
            };
            if of_protocol && rule.admits_port(to.port, usual) && rule.matches(method, path) {
                return Decision {
                    verdict: rule.verdict(),
                    action: rule.action.clone(),
                    route,
                };
            }
        }
        let action = if self.otherwise == Otherwise::Allow {
            Action::Allow
        } else {
            Action::Deny
        };
        Decision {
            verdict: self.default(),
            action,
            route: Route::Address,
        }
    }

    fn default(&self) -> Verdict {
        Verdict {
            rule: None,
            reason: Reason::Default,
        }
    }
}

impl Rule {
    fn verdict(&self) -> Verdict {
        Verdict {
            rule: Some(self.id.clone()),
            reason: Reason::Rule,
        }
    }

    fn plan(&self, route: Route) -> Plan {
        match self.action {
            Action::Deny => Plan::Deny(self.verdict()),
            _ => Plan::Pass(self.verdict(), route),
        }
    }

    fn needs_sight(&self) -> bool {
        self.matcher.is_some() || matches!(self.action, Action::Transform(_) | Action::Respond(_))
    }

    fn in_range(&self, to: Destination<'_>) -> bool {
        matches!(&self.target, Target::Range(range) if range.contains(to.address.into()))
    }

    /// A rule that names no port denies on all of them, and allows on the usual ones of its protocol.
    fn admits_port(&self, port: u16, usual: &[u16]) -> bool {
        if !self.ports.is_empty() {
            return self.ports.contains(&port);
        }
        let any = matches!(self.action, Action::Deny) || matches!(self.target, Target::Range(_));
        any || usual.contains(&port)
    }

    fn matches(&self, method: &str, path: &RequestPath) -> bool {
        let Some(matcher) = &self.matcher else { return true };
        let to_deny = matches!(self.action, Action::Deny);
        // Methods have a case, but not every server knows: a deny rule does not care.
        let same = |known: &String| known == method || to_deny && known.eq_ignore_ascii_case(method);
        (matcher.methods.is_empty() || matcher.methods.iter().any(same))
            && (matcher.paths.is_empty() || path.matches(&matcher.paths, to_deny))
    }
}
