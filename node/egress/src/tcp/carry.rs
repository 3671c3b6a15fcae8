//! What was decided, carried out: relayed, served as HTTP, or refused so that the client can tell why.
use super::connection::Connection;
use super::dial::reset;
use super::look::Opening;
use super::prefixed::Prefixed;
use super::relay::{forward_prefix, relay};
use crate::http::exchange::Exchange;
use crate::http::serve;
use crate::policy::Reason;
use crate::policy::decide::{Route, Verdict};
use crate::policy::document::Protocol;
use crate::sandboxes::live::Subject;
use crate::tls::alert::ACCESS_DENIED;
use bytes::Bytes;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

impl Connection {
    pub async fn pass(self, mut client: TcpStream, opening: Opening, verdict: Verdict, route: Route, subject: Subject) {
        let token = self.registered.entry.token.clone();
        let dialled = tokio::select! {
            () = token.cancelled() => Err(Reason::PolicyChanged),
            dialled = self.dial(&opening, route) => dialled,
        };
        let because = |reason| Verdict {
            rule: verdict.rule.clone(),
            reason,
        };
        let mut upstream = match dialled {
            Ok((stream, address)) => {
                self.dialled(subject, address);
                // Known only now: a floor that changed meanwhile saw the address that was asked for.
                let port = self.registered.entry.to.port();
                if !self.proxy.floor().admits(address.into(), port) {
                    return self.refuse(client, opening, because(Reason::Floor)).await;
                }
                stream
            }
            Err(reason) => return self.refuse(client, opening, because(reason)).await,
        };
        self.note("open", &verdict, &opening);
        let relayed = async {
            forward_prefix(&mut upstream, &opening.bytes, &self.meter).await?;
            relay(&mut client, &mut upstream, &self.meter).await
        };
        let orderly = tokio::select! {
            () = token.cancelled() => None,
            result = relayed => Some(result.is_ok()),
        };
        match orderly {
            None => self.note("cut", &because(Reason::PolicyChanged), &opening),
            Some(_) => self.note("allow", &verdict, &opening),
        }
        if orderly != Some(true) {
            reset(client);
            reset(upstream);
        }
    }

    fn dialled(&self, subject: Subject, dialled: Ipv4Addr) {
        if let Subject::Tls { name, pinned, .. } = subject {
            self.registered.entry.settle(Subject::Tls { name, pinned, dialled });
        }
    }

    async fn dial(&self, opening: &Opening, route: Route) -> Result<(TcpStream, Ipv4Addr), Reason> {
        let to = self.registered.entry.to;
        match (&opening.name, route) {
            (Some(name), Route::Name) => self.proxy.dial_name(&self.sandbox, name, to.port(), *to.ip()).await,
            _ => self
                .proxy
                .dial_address(*to.ip(), to.port())
                .await
                .map(|stream| (stream, *to.ip())),
        }
    }

    /// With a certificate authority a TLS client gets a 403 that it can read, without one an alert; others a reset.
    pub async fn refuse(self, mut client: TcpStream, opening: Opening, verdict: Verdict) {
        self.note("deny", &verdict, &opening);
        if opening.kind != Some(Protocol::Tls) {
            return reset(client);
        }
        if let (Some(_), Some(authority)) = (&opening.name, self.proxy.authority()) {
            let io = Prefixed::new(Bytes::from(opening.bytes), client, self.meter.clone());
            return serve::refuse_tls(io, &authority, verdict).await;
        }
        // Best effort: the connection ends either way, and the alert only says why.
        let _ = client.write_all(&ACCESS_DENIED).await;
        let _ = client.shutdown().await;
    }

    pub async fn terminate(self, client: TcpStream, opening: Opening, name: String) {
        let Some(authority) = self.proxy.authority() else {
            return reset(client);
        };
        let io = Prefixed::new(Bytes::from(opening.bytes), client, self.meter.clone());
        let token = self.registered.entry.token.clone();
        let exchange = Arc::new(Exchange::new(&self, Protocol::Tls, Some(name)));
        tokio::select! {
            () = token.cancelled() => {}
            () = serve::terminated(io, &authority, exchange) => {}
        }
        self.finish();
    }

    pub async fn clear(self, client: TcpStream, opening: Opening) {
        let io = Prefixed::new(Bytes::from(opening.bytes), client, self.meter.clone());
        let token = self.registered.entry.token.clone();
        let exchange = Arc::new(Exchange::new(&self, Protocol::Http, None));
        tokio::select! {
            () = token.cancelled() => {}
            () = serve::clear(io, exchange) => {}
        }
        self.finish();
    }

    fn finish(&self) {
        let (bytes_in, bytes_out) = self.meter.read();
        self.sandbox.count(bytes_in, bytes_out);
    }
}
