//! An allowed request on its way out, and its response on the way back.
use super::body::{Body, Rewritten, pass};
use super::exchange::Exchange;
use super::fields::remove_hop_fields;
use super::tracked::Record;
use super::upgrade;
use super::upstream::{Protocols, Target};
use crate::limits::RESPONSE_HEAD_WAIT;
use crate::policy::Reason;
use crate::policy::decide::{Route, Verdict};
use crate::policy::document::Protocol;
use crate::policy::path::RequestPath;
use crate::sandboxes::Rules;
use crate::secrets::rewriter::Rewriter;
use crate::secrets::substitute::{Place, Substituted};
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, HOST, IF_RANGE, RANGE, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Incoming};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::timeout;

pub struct Outgoing {
    pub exchange: Arc<Exchange>,
    pub rules: Rules,
    pub verdict: Verdict,
    pub route: Route,
    pub host: Option<String>,
    pub path: RequestPath,
    pub wants_upgrade: bool,
}

impl Outgoing {
    pub async fn send(self, mut parts: Parts, body: Incoming, mut record: Record) -> Response<Body> {
        let is_http1 = parts.version != Version::HTTP_2;
        let upgrade = self
            .wants_upgrade
            .then(|| parts.extensions.remove::<hyper::upgrade::OnUpgrade>())
            .flatten();
        remove_hop_fields(&mut parts.headers, true);
        let substituted = self.substitute(&mut parts, &mut record);
        let body = match self.body(body, &mut parts, &substituted, &record).await {
            Ok(body) => body,
            Err(reason) => return self.fail(record, reason, is_http1),
        };
        let protocols = if upgrade.is_some() {
            Protocols::Http1
        } else {
            Protocols::Any
        };
        if upgrade.is_some() {
            parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        let target = self.target();
        let request = match self.request(parts, body) {
            Ok(request) => request,
            Err(reason) => return self.fail(record, reason, is_http1),
        };
        let sending = target.send(&self.exchange, request, protocols);
        let (response, keep) = match timeout(RESPONSE_HEAD_WAIT, sending).await {
            Ok(Ok(sent)) => sent,
            Ok(Err(reason)) => return self.fail(record, reason, is_http1),
            Err(_) => return self.fail(record, Reason::Upstream, is_http1),
        };
        record.keep = keep;
        match upgrade {
            Some(client) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                upgrade::join(self, client, response, record)
            }
            // A switch that nobody asked for.
            None if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                self.fail(record, Reason::Upstream, is_http1)
            }
            upgrade => {
                let mut response = self.answer(response, record);
                if upgrade.is_some() {
                    // The guard stopped reading heads at this one.
                    response
                        .headers_mut()
                        .insert(CONNECTION, HeaderValue::from_static("close"));
                }
                response
            }
        }
    }

    fn substitute(&self, parts: &mut Parts, record: &mut Record) -> Substituted {
        let place = Place {
            over_tls: self.exchange.scheme == Protocol::Tls,
            host: self.host.as_deref().unwrap_or_default(),
            port: self.exchange.to.port(),
            method: parts.method.as_str().to_owned(),
            path: &self.path,
        };
        let substituted = self.rules.secrets.substitute(&place, parts);
        record.event.secrets.clone_from(&substituted.used);
        record.in_body = substituted
            .body
            .as_ref()
            .map(|body| (body.hits(), self.rules.secrets.names()));
        record.event.unbound.clone_from(&substituted.unbound);
        if !substituted.unbound.is_empty() {
            record.event.note = Some("a placeholder stands where its secret is not bound; it was left as it is");
        }
        if !self.rules.secrets.is_empty() {
            // What comes back has to be readable, and whole: two halves of a value are not found.
            parts
                .headers
                .insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            parts.headers.remove(RANGE);
            parts.headers.remove(IF_RANGE);
        }
        substituted
    }

    async fn body(
        &self,
        body: Incoming,
        parts: &mut Parts,
        substituted: &Substituted,
        record: &Record,
    ) -> Result<Body, Reason> {
        let ended = body.is_end_stream();
        let sent = record.sent.clone();
        let body = pass(body.map_frame(move |frame| {
            count(&sent, frame.data_ref());
            frame
        }));
        match substituted.body.clone() {
            Some(rewriter) if !ended => crate::secrets::body::rewrite(body, rewriter, &mut parts.headers)
                .await
                .map_err(|_| Reason::Unclear),
            _ => Ok(body),
        }
    }

    fn target(&self) -> Target {
        let to = self.exchange.to;
        let tls = self.exchange.scheme == Protocol::Tls;
        let by_name = tls || self.route == Route::Name;
        let name = self.host.clone().filter(|_| by_name);
        Target { name, to, tls }
    }

    /// As HTTP/2 wants it; `upstream` takes the host out again for HTTP/1.
    fn request(&self, mut parts: Parts, body: Body) -> Result<Request<Body>, Reason> {
        let tls = self.exchange.scheme == Protocol::Tls;
        let port = self.exchange.to.port();
        let host = self.host.clone().unwrap_or_else(|| self.exchange.to.ip().to_string());
        let usual = if tls { 443 } else { 80 };
        let authority = if port == usual { host } else { format!("{host}:{port}") };
        parts.headers.remove(HOST);
        let path = match parts.uri.path_and_query() {
            Some(path) if parts.method != Method::OPTIONS || path.as_str() != "*" => path.as_str(),
            _ => "*",
        };
        let uri = Uri::builder()
            .scheme(if tls { "https" } else { "http" })
            .authority(authority)
            .path_and_query(path);
        parts.uri = uri.build().map_err(|_| Reason::Unclear)?;
        parts.extensions.clear();
        parts.version = Version::HTTP_11;
        Ok(Request::from_parts(parts, body))
    }

    fn answer(&self, response: Response<Incoming>, mut record: Record) -> Response<Body> {
        let (mut parts, body) = response.into_parts();
        remove_hop_fields(&mut parts.headers, false);
        parts.version = Version::HTTP_11;
        let body = pass(body);
        let Some(rewriter) = self.scrubber(&mut parts.headers) else {
            return record.finish_with(Response::from_parts(parts, body));
        };
        let identity = parts
            .headers
            .get(CONTENT_ENCODING)
            .is_none_or(|value| value.as_bytes() == b"identity");
        if !identity {
            record.event.note = Some("the response is encoded although identity was asked for: it was not scrubbed");
        }
        let body = if identity {
            Rewritten::new(body, rewriter, true).boxed_unsync()
        } else {
            body
        };
        record.finish_with(Response::from_parts(parts, body))
    }

    /// None where the sandbox has no secret.
    pub fn scrubber(&self, headers: &mut HeaderMap) -> Option<Rewriter> {
        if self.rules.secrets.is_empty() {
            return None;
        }
        self.rules.secrets.scrub_headers(headers);
        Some(self.rules.secrets.scrubber())
    }

    fn fail(self, record: Record, reason: Reason, is_http1: bool) -> Response<Body> {
        let verdict = Verdict {
            rule: self.verdict.rule.clone(),
            reason,
        };
        let exchange = self.exchange.clone();
        exchange.refuse(record, verdict, self.host.as_deref(), is_http1)
    }
}

fn count(sent: &AtomicU64, data: Option<&Bytes>) {
    sent.fetch_add(data.map_or(0, |data| data.len() as u64), Ordering::Relaxed);
}
