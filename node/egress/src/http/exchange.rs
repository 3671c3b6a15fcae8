//! One connection's requests: each is decided anew.
use super::body::Body;
use super::check;
use super::fields::wants_websocket;
use super::forward::Outgoing;
use super::refuse::refusal;
use super::tracked::Record;
use crate::events::Event;
use crate::policy::Reason;
use crate::policy::compile::{Action, Respond};
use crate::policy::decide::{Destination, Route, Verdict};
use crate::policy::document::Protocol;
use crate::policy::path::RequestPath;
use crate::proxy::Proxy;
use crate::sandboxes::live::{Registered, RequestGuard, UnderWay};
use crate::sandboxes::{Rules, Sandbox};
use crate::tcp::connection::Connection;
use crate::tcp::prefixed::Meter;
use http::header::CONNECTION;
use http::request::Parts;
use http::{HeaderValue, Request, Response, Version};
use hyper::body::Incoming;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

pub struct Exchange {
    pub proxy: Arc<Proxy>,
    pub sandbox: Arc<Sandbox>,
    pub registered: Arc<Registered>,
    pub meter: Arc<Meter>,
    pub to: SocketAddrV4,
    pub scheme: Protocol,
    pub sni: Option<String>,
    /// Set by the guard of HTTP/1: from then on everything is refused.
    pub fault: Arc<AtomicBool>,
}

type Admitted = (Rules, Action, Verdict, Route, RequestGuard);

impl Exchange {
    pub fn new(connection: &Connection, scheme: Protocol, sni: Option<String>) -> Self {
        Self {
            proxy: connection.proxy.clone(),
            sandbox: connection.sandbox.clone(),
            registered: connection.registered.clone(),
            meter: connection.meter.clone(),
            to: connection.registered.entry.to,
            scheme,
            sni,
            fault: Arc::default(),
        }
    }

    pub fn is_busy(&self) -> bool {
        self.registered.entry.is_busy()
    }

    pub async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let started = Instant::now();
        let is_http1 = request.version() != Version::HTTP_2;
        let wants_upgrade = is_http1 && wants_websocket(request.headers());
        let (mut parts, body) = request.into_parts();
        let mut record = Record::new(&self, &parts, started);
        let host = match self.host(&parts) {
            Ok(host) => host,
            Err(reason) => return self.refuse(record, Verdict { rule: None, reason }, None, is_http1),
        };
        record.event.host = host
            .as_deref()
            .map(crate::events::clean)
            .or(Some(self.to.ip().to_string()));
        let path = RequestPath::parse(parts.uri.path());
        let (rules, action, verdict, route, guard) = match self.admit(&mut record, host.as_deref(), &parts, &path) {
            Ok(admitted) => admitted,
            Err(verdict) => return self.refuse(record, verdict, host.as_deref(), is_http1),
        };
        record.guard = Some(guard);
        if let Action::Respond(respond) = &action {
            return record.finish_with(responded(respond, &verdict));
        }
        if let Action::Transform(transform) = &action {
            for name in &transform.remove {
                parts.headers.remove(name);
            }
            parts.headers.extend(transform.set.clone());
        }
        let outgoing = Outgoing {
            exchange: self.clone(),
            rules,
            verdict,
            route,
            host,
            path,
            wants_upgrade,
        };
        outgoing.send(parts, body, record).await
    }

    /// Under way under the rules that allowed it, or decided again: no change falls between.
    fn admit(
        &self,
        record: &mut Record,
        host: Option<&str>,
        parts: &Parts,
        path: &RequestPath,
    ) -> Result<Admitted, Verdict> {
        loop {
            let rules = self.sandbox.rules();
            let (action, verdict, route) = self.decide(&rules, host, parts, path);
            record.decided(&action, &verdict);
            if matches!(action, Action::Deny) {
                return Err(verdict);
            }
            let under_way = UnderWay {
                scheme: self.scheme,
                name: host.map(str::to_owned),
                method: parts.method.to_string(),
                path: path.clone(),
            };
            let limit = Verdict {
                rule: None,
                reason: Reason::Limit,
            };
            let guard = self.registered.entry.begin(under_way).ok_or(limit)?;
            if self.sandbox.rules().generation == rules.generation {
                return Ok((rules, action, verdict, route, guard));
            }
        }
    }

    fn host(&self, parts: &Parts) -> Result<Option<String>, Reason> {
        if self.fault.load(Ordering::Acquire) {
            return Err(Reason::Unclear);
        }
        check::host(parts, self.scheme, self.sni.as_deref(), self.to)
    }

    fn decide(&self, rules: &Rules, host: Option<&str>, parts: &Parts, path: &RequestPath) -> (Action, Verdict, Route) {
        let pinned = self.sandbox.pins().names_of(*self.to.ip(), Instant::now());
        let to = Destination {
            address: *self.to.ip(),
            port: self.to.port(),
            pinned: &pinned,
        };
        let decision = rules.policy.request(self.scheme, host, to, parts.method.as_str(), path);
        let deny = |reason| {
            (
                Action::Deny,
                Verdict {
                    rule: decision.verdict.rule.clone(),
                    reason,
                },
                decision.route,
            )
        };
        if host.is_some_and(|name| !self.proxy.floor().admits_name(name)) {
            return deny(Reason::Floor);
        }
        // Over TLS the name was checked against its pin when the connection began, and the certificate proves it.
        let by_name = decision.route == Route::Name && self.scheme == Protocol::Http;
        let is_pinned = host.is_some_and(|name| pinned.iter().any(|pin| pin == name));
        let reaches_out = !matches!(decision.action, Action::Deny | Action::Respond(_));
        if by_name && reaches_out && !is_pinned {
            return deny(Reason::NotPinned);
        }
        (decision.action, decision.verdict, decision.route)
    }

    pub fn refuse(&self, mut record: Record, verdict: Verdict, host: Option<&str>, is_http1: bool) -> Response<Body> {
        record.decided(&Action::Deny, &verdict);
        let mut response = refusal(&verdict, host);
        // What follows an unclear request cannot be told from its body.
        if is_http1 && verdict.reason == Reason::Unclear {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        record.finish_with(response)
    }

    /// The client did not go through with our certificate.
    pub fn untrusted(&self) {
        let mut event = Event::new(
            self.sandbox.address,
            "connection",
            "deny",
            Reason::NoInterception.code(),
        );
        event.protocol = Some("tls");
        event.host.clone_from(&self.sni);
        event.port = Some(self.to.port());
        event.note = Some("the client does not accept the installation's certificate");
        self.proxy.events.add(event);
    }
}

fn responded(respond: &Respond, verdict: &Verdict) -> Response<Body> {
    let mut response = Response::new(super::body::whole(respond.body.clone()));
    *response.status_mut() = respond.status;
    *response.headers_mut() = respond.headers.clone();
    response
        .headers_mut()
        .insert("x-atoll-rule", super::refuse::rule_field(verdict));
    response
}
