//! What would happen to a request, and why, without sending anything.
use super::apply::{Answer, invalid};
use crate::name::{Host, authority};
use crate::policy::Reason;
use crate::policy::compile::Action;
use crate::policy::decide::{Destination, Plan, Verdict};
use crate::policy::document::Protocol;
use crate::policy::path::RequestPath;
use crate::proxy::Proxy;
use crate::sandboxes::{Rules, Sandbox};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::time::Instant;

struct Asked {
    scheme: Scheme,
    host: Host,
    port: u16,
    path: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
    Tcp,
    Dns,
}

impl Proxy {
    /// `https://host/path`, `http://…`, `tcp://host:port` or `dns://host`.
    pub fn explain(&self, address: Ipv4Addr, url: &str, method: Option<&str>) -> Answer {
        let asked = parse(url).ok_or_else(|| {
            invalid(format!(
                "{:?} is no http, https, tcp or dns URL",
                crate::events::clean(url)
            ))
        })?;
        let Some(sandbox) = self.sandbox(address) else {
            return Ok(answer(
                "deny",
                &Verdict {
                    rule: None,
                    reason: Reason::NoPolicy,
                },
                json!({}),
            ));
        };
        let rules = sandbox.rules();
        let (action, verdict, how) = self.judge(&sandbox, &rules, &asked, method.unwrap_or("GET"));
        let path = RequestPath::parse(&asked.path);
        let secrets = match &asked.host {
            Host::Name(name) if asked.scheme == Scheme::Https && action != "deny" => {
                rules.secrets.usable(name, asked.port, method.unwrap_or("GET"), &path)
            }
            _ => Vec::new(),
        };
        let more = json!({ "how": how, "version": rules.policy.version, "secrets": secrets });
        Ok(answer(action, &verdict, more))
    }

    fn judge(
        &self,
        sandbox: &Sandbox,
        rules: &Rules,
        asked: &Asked,
        method: &str,
    ) -> (&'static str, Verdict, &'static str) {
        let now = Instant::now();
        let floored = (
            "deny",
            Verdict {
                rule: None,
                reason: Reason::Floor,
            },
            "refused",
        );
        let (name, address) = match &asked.host {
            Host::Name(name) => {
                if !self.floor().admits_name(name) {
                    return floored;
                }
                let (resolves, verdict, _) = rules.policy.resolve(name);
                if asked.scheme == Scheme::Dns || !resolves {
                    return (if resolves { "allow" } else { "deny" }, verdict, "resolver");
                }
                // Where it was not resolved yet, any public address stands for the answer.
                let address = sandbox.pins().addresses(name, now).first().copied();
                (Some(name.as_str()), address.unwrap_or(Ipv4Addr::new(1, 1, 1, 1)))
            }
            Host::Address(address) => (None, *address),
        };
        if !self.floor().admits(address.into(), asked.port) {
            return floored;
        }
        let pinned: Vec<String> = name.map(str::to_owned).into_iter().collect();
        let to = Destination {
            address,
            port: asked.port,
            pinned: &pinned,
        };
        match (asked.scheme, name) {
            (Scheme::Https, Some(name)) => self.judge_tls(rules, asked, name, to, method),
            (Scheme::Http, _) => self.judge_request(rules, asked, name, to, method, Protocol::Http),
            (Scheme::Https, None) => judge_plan(rules.policy.raw(to, Some(Protocol::Tls))),
            _ => judge_plan(rules.policy.raw(to, Some(Protocol::Tcp))),
        }
    }

    fn judge_tls(
        &self,
        rules: &Rules,
        asked: &Asked,
        name: &str,
        to: Destination<'_>,
        method: &str,
    ) -> (&'static str, Verdict, &'static str) {
        match rules.policy.tls(name, to, rules.secrets.binds(name, to.port)) {
            Plan::Terminate if self.authority().is_none() => (
                "deny",
                Verdict {
                    rule: None,
                    reason: Reason::NoInterception,
                },
                "refused",
            ),
            Plan::Terminate => self.judge_request(rules, asked, Some(name), to, method, Protocol::Tls),
            plan => judge_plan(plan),
        }
    }

    fn judge_request(
        &self,
        rules: &Rules,
        asked: &Asked,
        name: Option<&str>,
        to: Destination<'_>,
        method: &str,
        scheme: Protocol,
    ) -> (&'static str, Verdict, &'static str) {
        if scheme == Protocol::Http && rules.policy.raw(to, None) != Plan::Look {
            return judge_plan(rules.policy.raw(to, Some(Protocol::Tcp)));
        }
        let decision = rules
            .policy
            .request(scheme, name, to, method, &RequestPath::parse(&asked.path));
        let how = if scheme == Protocol::Tls { "terminate" } else { "http" };
        match decision.action {
            Action::Allow => ("allow", decision.verdict, how),
            Action::Deny => ("deny", decision.verdict, "refused"),
            Action::Transform(_) => ("transform", decision.verdict, how),
            Action::Respond(_) => ("respond", decision.verdict, how),
        }
    }
}

fn judge_plan(plan: Plan) -> (&'static str, Verdict, &'static str) {
    match plan {
        Plan::Pass(verdict, _) => ("allow", verdict, "pass"),
        Plan::Deny(verdict) => ("deny", verdict, "refused"),
        Plan::Terminate | Plan::Look => (
            "deny",
            Verdict {
                rule: None,
                reason: Reason::Unclear,
            },
            "refused",
        ),
    }
}

fn answer(action: &str, verdict: &Verdict, more: Value) -> Value {
    let mut answer = json!({ "decision": action, "rule": verdict.rule, "reason": verdict.reason.code() });
    if action == "deny" {
        answer["remedy"] = verdict.reason.remedy().into();
    }
    if let (Some(answer), Value::Object(more)) = (answer.as_object_mut(), more) {
        answer.extend(more);
    }
    answer
}

fn parse(url: &str) -> Option<Asked> {
    let (scheme, rest) = url.split_once("://")?;
    let (scheme, usual) = match scheme {
        "http" => (Scheme::Http, Some(80)),
        "https" => (Scheme::Https, Some(443)),
        "tcp" => (Scheme::Tcp, None),
        "dns" => (Scheme::Dns, Some(53)),
        _ => return None,
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, port) = authority(&rest[..end])?;
    let path = rest[end..]
        .split(['?', '#'])
        .next()
        .filter(|path| !path.is_empty())
        .unwrap_or("/");
    Some(Asked {
        scheme,
        host,
        port: port.or(usual)?,
        path: path.to_owned(),
    })
}
