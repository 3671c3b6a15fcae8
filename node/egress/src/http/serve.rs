//! The HTTP server towards the sandbox.
use super::body::Body;
use super::exchange::Exchange;
use super::guard::Guard;
use super::refuse::refusal;
use crate::limits::{HANDSHAKE_WAIT, HEAD_BYTES, HEAD_FIELDS, HTTP_IDLE, HTTP2_STREAMS, RELAY_IDLE};
use crate::policy::decide::Verdict;
use crate::tcp::prefixed::Prefixed;
use crate::tls::authority::Authority;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

pub async fn clear(io: Prefixed, exchange: Arc<Exchange>) {
    let io = Guard::new(io, exchange.fault.clone());
    let service = service(exchange.clone());
    until_idle(&exchange, http1_connection(io, service)).await;
}

pub async fn terminated(io: Prefixed, authority: &Authority, exchange: Arc<Exchange>) {
    let accept = TlsAcceptor::from(authority.server.clone()).accept(io);
    // A handshake that fails was the client's choice: it does not trust us, or it is gone.
    let Ok(Ok(tls)) = timeout(HANDSHAKE_WAIT, accept).await else {
        return exchange.untrusted();
    };
    let is_http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service(exchange.clone());
    if is_http2 {
        until_idle(&exchange, http2_connection(tls, service)).await;
    } else {
        let io = Guard::new(tls, exchange.fault.clone());
        until_idle(&exchange, http1_connection(io, service)).await;
    }
}

/// Answers every request of a refused TLS connection with the same refusal.
pub async fn refuse_tls(io: Prefixed, authority: &Authority, verdict: Verdict) {
    let accept = TlsAcceptor::from(authority.server.clone()).accept(io);
    let Ok(Ok(tls)) = timeout(HANDSHAKE_WAIT, accept).await else {
        return;
    };
    let is_http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let host = tls.get_ref().1.server_name().map(str::to_owned);
    let service = service_fn(move |_: Request<Incoming>| {
        let mut response = refusal(&verdict, host.as_deref());
        if !is_http2 {
            response
                .headers_mut()
                .insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
        }
        async move { Ok::<_, Infallible>(response) }
    });
    // Bounded: nobody keeps a refused connection.
    if is_http2 {
        let _ = timeout(HANDSHAKE_WAIT, http2_connection(tls, service)).await;
    } else {
        let _ = timeout(HANDSHAKE_WAIT, http1_connection(tls, service)).await;
    }
}

fn service(
    exchange: Arc<Exchange>,
) -> impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send> + Send + 'static {
    service_fn(move |request| {
        let exchange = exchange.clone();
        async move { Ok(exchange.handle(request).await) }
    })
}

async fn http1_connection<I, S>(io: I, service: S)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
{
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HTTP_IDLE)
        .max_headers(HEAD_FIELDS)
        .max_buf_size(HEAD_BYTES)
        .half_close(true);
    // Its errors are the client's: what they were is in the events of the requests.
    let _ = builder
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades()
        .await;
}

async fn http2_connection<I, S>(io: I, service: S)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send> + Send + 'static,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS)
        .max_header_list_size(HEAD_BYTES as u32)
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        .max_send_buf_size(256 * 1024)
        .max_pending_accept_reset_streams(32);
    let _ = builder.serve_connection(TokioIo::new(io), service).await;
}

/// Ends a connection on which nothing is under way for as long as is allowed.
async fn until_idle(exchange: &Exchange, connection: impl Future<Output = ()>) {
    let idle = async {
        let (mut last, mut idle) = (exchange.meter.read(), Duration::ZERO);
        loop {
            sleep(HTTP_IDLE).await;
            let now = exchange.meter.read();
            idle = if now == last { idle + HTTP_IDLE } else { Duration::ZERO };
            last = now;
            let most = if exchange.is_busy() { RELAY_IDLE } else { HTTP_IDLE };
            if idle >= most {
                return;
            }
        }
    };
    tokio::select! {
        () = connection => {}
        () = idle => {}
    }
}
