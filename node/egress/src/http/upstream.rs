//! Connections to real servers: dialled, verified, spoken to in HTTP/2 where they can, kept for the same sandbox.
use super::body::{Body, Failure};
use super::exchange::Exchange;
use crate::limits::{HANDSHAKE_WAIT, HEAD_BYTES};
use crate::policy::Reason;
use crate::sandboxes::pool::{Key, Sender};
use http::header::HOST;
use http::{HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use std::net::SocketAddrV4;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

pub struct Target {
    /// None: the address itself is the destination.
    pub name: Option<String>,
    pub to: SocketAddrV4,
    pub tls: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Protocols {
    Any,
    Http1,
}

type Sent = (Response<Incoming>, Option<(Key, Sender, u64)>);

impl Target {
    pub async fn send(
        &self,
        exchange: &Exchange,
        request: Request<Body>,
        protocols: Protocols,
    ) -> Result<Sent, Reason> {
        let pool = &exchange.sandbox.pool;
        let host = self.name.clone().unwrap_or_else(|| self.to.ip().to_string());
        let key = Key {
            host,
            port: self.to.port(),
            tls: self.tls,
        };
        let generation = pool.generation();
        let mut request = request;
        if protocols == Protocols::Any {
            // A kept connection may have died unseen: what was not sent on it is sent on another.
            while let Some(mut sender) = pool.take(&key) {
                match sender.send(request).await {
                    Ok(response) => return Ok((response, Some((key, sender, generation)))),
                    Err(Some(unsent)) => request = unsent,
                    Err(None) => return Err(Reason::Upstream),
                }
            }
        }
        let mut sender = timeout(HANDSHAKE_WAIT * 2, self.connect(exchange, protocols))
            .await
            .map_err(|_| Reason::Upstream)??;
        if let Sender::Http2(shared) = &sender {
            pool.put(key.clone(), Sender::Http2(shared.clone()), generation);
        }
        let response = sender.send(request).await.map_err(|_| Reason::Upstream)?;
        let keep = matches!(sender, Sender::Http1(_)) && protocols == Protocols::Any;
        Ok((response, keep.then_some((key, sender, generation))))
    }

    async fn connect(&self, exchange: &Exchange, protocols: Protocols) -> Result<Sender, Reason> {
        let (proxy, sandbox) = (&exchange.proxy, &exchange.sandbox);
        let stream = match &self.name {
            Some(name) => proxy.dial_name(sandbox, name, self.to.port(), *self.to.ip()).await?.0,
            None => proxy.dial_address(*self.to.ip(), self.to.port()).await?,
        };
        if !self.tls {
            return handshake1(stream).await;
        }
        let name = self.name.clone().ok_or(Reason::NoName)?;
        let config = if protocols == Protocols::Http1 {
            &sandbox.pool.tls.http1
        } else {
            &sandbox.pool.tls.any
        };
        let server = ServerName::try_from(name).map_err(|_| Reason::Unclear)?;
        let connecting = TlsConnector::from(config.clone()).connect(server, stream);
        let stream = connecting.await.map_err(|_| Reason::Upstream)?;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            return handshake2(stream).await;
        }
        handshake1(stream).await
    }
}

impl Sender {
    /// The request comes back where nothing of it was sent.
    async fn send(&mut self, mut request: Request<Body>) -> Result<Response<Incoming>, Option<Request<Body>>> {
        let unsent = |mut error: TrySendError<Request<Body>>| error.take_message();
        match self {
            Self::Http1(sender) => {
                let full = request.uri().clone();
                to_http1(&mut request).map_err(|_| None)?;
                let sent = sender.try_send_request(request).await;
                sent.map_err(|error| {
                    let mut request = unsent(error)?;
                    *request.uri_mut() = full;
                    request.headers_mut().remove(HOST);
                    Some(request)
                })
            }
            Self::Http2(sender) => {
                *request.version_mut() = http::Version::HTTP_2;
                sender.try_send_request(request).await.map_err(unsent)
            }
        }
    }
}

/// From the absolute URI to a target and a Host field.
fn to_http1(request: &mut Request<Body>) -> Result<(), Failure> {
    let authority = request.uri().authority().ok_or("a request without a host")?;
    let host = HeaderValue::from_str(authority.as_str())?;
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str())
        .to_owned();
    request.headers_mut().insert(HOST, host);
    *request.uri_mut() = path.parse::<Uri>()?;
    *request.version_mut() = http::Version::HTTP_11;
    Ok(())
}

async fn handshake1<I>(io: I) -> Result<Sender, Reason>
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder
        .max_buf_size(HEAD_BYTES.max(8192))
        .max_headers(crate::limits::HEAD_FIELDS);
    let (sender, connection) = builder
        .handshake(TokioIo::new(io))
        .await
        .map_err(|_| Reason::Upstream)?;
    // Its end and its errors show in the requests on it.
    tokio::spawn(connection.with_upgrades());
    Ok(Sender::Http1(sender))
}

async fn handshake2(io: tokio_rustls::client::TlsStream<TcpStream>) -> Result<Sender, Reason> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_BYTES as u32)
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024);
    let (sender, connection) = builder
        .handshake(TokioIo::new(io))
        .await
        .map_err(|_| Reason::Upstream)?;
    tokio::spawn(connection);
    Ok(Sender::Http2(sender))
}
