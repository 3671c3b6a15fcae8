//! Real servers: DNS, echo, and HTTP/1.1, HTTP/2 and WebSocket over TCP or TLS.
use super::{WAIT, address};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use serde_json::json;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// Answers A questions from a table; other names do not exist.
pub async fn dns(names: Arc<Mutex<HashMap<String, Vec<Ipv4Addr>>>>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
            let packet = &buffer[..length];
            let query = atoll_egress::dns::message::Query::parse(packet).unwrap();
            let known = names.lock().unwrap().get(query.name.as_deref().unwrap()).cloned();
            let code = if known.is_some() { 0 } else { 3 };
            let mut reply = query.answer(
                atoll_egress::dns::message::Code::NoError,
                &known.unwrap_or_default(),
                60,
            );
            reply[3] |= code;
            socket.send_to(&reply, peer).await.unwrap();
        }
    });
    address
}

/// The addresses of a reply as our own resolver writes it.
pub fn addresses(reply: &[u8]) -> Vec<Ipv4Addr> {
    let count = usize::from(u16::from_be_bytes([reply[6], reply[7]]));
    let records = &reply[reply.len() - count * 16..];
    records
        .chunks(16)
        .map(|record| Ipv4Addr::new(record[12], record[13], record[14], record[15]))
        .collect()
}

pub struct Server {
    pub at: SocketAddrV4,
    /// Requests as they came: method, path with query, headers, body.
    pub seen: Arc<Mutex<Vec<Seen>>>,
    pub connections: Arc<AtomicUsize>,
}

#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub uri: String,
    pub headers: http::HeaderMap,
    pub body: String,
}

impl Server {
    pub fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().cloned().expect("a request")
    }

    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

async fn listener() -> (TcpListener, SocketAddrV4) {
    let listener = TcpListener::bind((address(), 0)).await.unwrap();
    let SocketAddr::V4(at) = listener.local_addr().unwrap() else {
        unreachable!()
    };
    (listener, at)
}

/// Sends `greeting` first, then what it gets.
pub async fn echo(greeting: &'static str) -> SocketAddrV4 {
    let (listener, at) = listener().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.write_all(greeting.as_bytes()).await.ok()?;
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await.ok()
            });
        }
    });
    at
}

/// `tls` None: clear text.
pub async fn http(tls: Option<Arc<ServerConfig>>) -> Server {
    let (listener, at) = listener().await;
    let server = Server {
        at,
        seen: Arc::default(),
        connections: Arc::default(),
    };
    let (seen, connections) = (server.seen.clone(), server.connections.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            connections.fetch_add(1, Ordering::SeqCst);
            stream.set_nodelay(true).unwrap();
            tokio::spawn(connection(stream, tls.clone(), seen.clone()));
        }
    });
    server
}

async fn connection(stream: TcpStream, tls: Option<Arc<ServerConfig>>, seen: Arc<Mutex<Vec<Seen>>>) {
    let Some(tls) = tls else {
        return serve(stream, false, seen).await;
    };
    let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await else {
        return;
    };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    serve(stream, is_http2, seen).await;
}

async fn serve(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, is_http2: bool, seen: Arc<Mutex<Vec<Seen>>>) {
    let service = service_fn(move |request| answer(request, seen.clone()));
    if is_http2 {
        let _ = http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(io), service)
            .await;
    } else {
        let _ = http1::Builder::new()
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades()
            .await;
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What each path does is what its test needs.
async fn answer(mut request: Request<Incoming>, seen: Arc<Mutex<Vec<Seen>>>) -> Result<Response<Body>, Infallible> {
    let upgrade = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    let body = timeout(WAIT, body.collect())
        .await
        .unwrap()
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    let body = String::from_utf8_lossy(&body).into_owned();
    let uri = parts
        .uri
        .path_and_query()
        .map(|path| path.as_str().to_owned())
        .unwrap_or_default();
    let note = Seen {
        method: parts.method.to_string(),
        uri,
        headers: parts.headers.clone(),
        body: body.clone(),
    };
    seen.lock().unwrap().push(note);
    let whole = |text: String| Full::new(Bytes::from(text)).boxed_unsync();
    let text = |name: &str| {
        parts
            .headers
            .get(name)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let response = match parts.uri.path() {
        "/ws" => {
            tokio::spawn(async move {
                let mut io = TokioIo::new(upgrade.await.ok()?);
                let mut buffer = [0; 1024];
                loop {
                    let length = io.read(&mut buffer).await.ok().filter(|length| *length > 0)?;
                    io.write_all(&buffer[..length]).await.ok()?;
                }
                #[allow(unreachable_code)]
                Some(())
            });
            let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
            let response = response.header("connection", "upgrade").header("upgrade", "websocket");
            return Ok(response.body(whole(String::new())).unwrap());
        }
        // The value that came in, cut into single bytes.
        "/echo-chunks" => {
            let value = text("authorization").unwrap_or(body);
            let (send, receive) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
            tokio::spawn(async move {
                for byte in format!("before {value} after").into_bytes() {
                    send.send(Ok(Frame::data(Bytes::from(vec![byte])))).await.ok()?;
                }
                Some(())
            });
            Response::new(StreamBody::new(Stream(receive)).boxed_unsync())
        }
        "/echo-header" => {
            let mut response = Response::new(whole("in the header".to_owned()));
            let value = text("authorization").unwrap_or_default();
            response
                .headers_mut()
                .insert("x-echo", HeaderValue::from_str(&value).unwrap());
            response
        }
        "/slow" => {
            // Never ends: its client or a changed policy ends it.
            let (send, receive) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
            tokio::spawn(async move {
                let _ = send.send(Ok(Frame::data(Bytes::from_static(b"first\n")))).await;
                send.closed().await;
            });
            Response::new(StreamBody::new(Stream(receive)).boxed_unsync())
        }
        "/echo" => Response::new(whole(text("authorization").unwrap_or(body))),
        "/gzip" => {
            let mut response = Response::new(whole(body));
            response
                .headers_mut()
                .insert("content-encoding", HeaderValue::from_static("gzip"));
            response
        }
        path => Response::new(whole(json!({ "hello": path }).to_string())),
    };
    Ok(response)
}

struct Stream(tokio::sync::mpsc::Receiver<Result<Frame<Bytes>, Infallible>>);

impl futures_core::Stream for Stream {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}
