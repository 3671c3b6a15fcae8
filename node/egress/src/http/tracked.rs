//! A request's record: it becomes an event when the last byte of the response is gone, or nobody wants it any more.
use super::body::{Body, Failure};
use super::exchange::Exchange;
use crate::events::{Event, clean};
use crate::policy::compile::Action;
use crate::policy::decide::Verdict;
use crate::policy::document::Protocol;
use crate::proxy::Proxy;
use crate::sandboxes::Sandbox;
use crate::sandboxes::live::RequestGuard;
use crate::sandboxes::pool::{Key, Sender};
use bytes::Bytes;
use http::Response;
use http::request::Parts;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Instant;

pub struct Record {
    pub event: Event,
    pub guard: Option<RequestGuard>,
    /// Bytes of the request's body.
    pub sent: Arc<AtomicU64>,
    /// A connection that serves the next request once this response is through.
    pub keep: Option<(Key, Sender, u64)>,
    /// Secrets that the body's rewriter finds while it streams, and the names of all.
    pub in_body: Option<(Arc<AtomicU64>, Vec<String>)>,
    started: Instant,
    proxy: Arc<Proxy>,
    sandbox: Arc<Sandbox>,
}

impl Record {
    pub fn new(exchange: &Exchange, parts: &Parts, started: Instant) -> Self {
        let mut event = Event::new(exchange.sandbox.address, "request", "deny", "unclear");
        event.protocol = Some(if exchange.scheme == Protocol::Tls {
            "tls"
        } else {
            "http"
        });
        event.address = Some(*exchange.to.ip());
        event.port = Some(exchange.to.port());
        event.method = Some(clean(parts.method.as_str()));
        event.path = Some(clean(parts.uri.path()));
        Self {
            event,
            guard: None,
            sent: Arc::default(),
            keep: None,
            in_body: None,
            started,
            proxy: exchange.proxy.clone(),
            sandbox: exchange.sandbox.clone(),
        }
    }

    pub fn decided(&mut self, action: &Action, verdict: &Verdict) {
        self.event.action = match action {
            Action::Allow => "allow",
            Action::Deny => "deny",
            Action::Transform(_) => "transform",
            Action::Respond(_) => "respond",
        };
        self.event.rule.clone_from(&verdict.rule);
        self.event.reason = verdict.reason.code();
    }

    /// Ties the record to the response's body.
    pub fn finish_with(mut self, response: Response<Body>) -> Response<Body> {
        self.event.status = Some(response.status().as_u16());
        response.map(|body| {
            Tracked {
                inner: body,
                record: Some(self),
                ended: false,
            }
            .boxed_unsync()
        })
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let mut event = self.event.clone();
        event.bytes_out = self.sent.load(Ordering::Relaxed);
        if let Some((hits, names)) = &self.in_body {
            let hits = hits.load(Ordering::Relaxed);
            for (_, name) in names.iter().enumerate().filter(|(index, _)| hits & 1 << index != 0) {
                if !event.secrets.contains(name) {
                    event.secrets.push(name.clone());
                }
            }
        }
        event.duration_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.proxy.events.add(event);
    }
}

struct Tracked {
    inner: Body,
    record: Option<Record>,
    ended: bool,
}

impl Tracked {
    /// Only a connection whose response was read to its end serves another request.
    fn end(&mut self) {
        self.ended = true;
        if let Some(mut record) = self.record.take()
            && let Some((key, sender, generation)) = record.keep.take()
        {
            record.sandbox.pool.put(key, sender, generation);
        }
    }
}

impl HttpBody for Tracked {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        match &frame {
            None => self.end(),
            Some(Ok(frame)) => {
                if let (Some(data), Some(record)) = (frame.data_ref(), self.record.as_mut()) {
                    record.event.bytes_in += data.len() as u64;
                }
                if self.inner.is_end_stream() {
                    self.end();
                }
            }
            Some(Err(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        // Servers do not poll a body that says it is at its end, such as an empty one.
        if self.inner.is_end_stream() {
            self.end();
        }
    }
}
