//! What the proxy adds, against the same servers reached directly: `cargo run --release --example measure`.
//! Everything is in this one process, so the load and the servers share the processors with the proxy.
#[path = "../tests/support/mod.rs"]
mod support;

use rustls::pki_types::ServerName;
use serde_json::json;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{CLIENT, World, one_response, servers};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const GET: &[u8] = b"GET /x HTTP/1.1\r\nhost: api.test\r\n\r\n";
const LARGE_BYTES: usize = 1_000_000_000;

#[derive(Clone, Copy)]
enum Way {
    Direct,
    Proxy,
}

async fn open(world: &World, way: Way, at: SocketAddrV4, config: &Arc<rustls::ClientConfig>) -> TlsStream<TcpStream> {
    let stream = match way {
        Way::Direct => TcpStream::connect(at).await.unwrap(),
        Way::Proxy => world.connect(CLIENT, at).await,
    };
    stream.set_nodelay(true).unwrap();
    let name = ServerName::try_from("api.test").unwrap();
    TlsConnector::from(config.clone()).connect(name, stream).await.unwrap()
}

/// Sends one request and reads its answer, whose length does not change.
async fn request(stream: &mut TlsStream<TcpStream>, length: usize) {
    stream.write_all(GET).await.unwrap();
    stream.read_exact(&mut vec![0; length]).await.unwrap();
}

async fn measure(world: &Arc<World>, label: &str, way: Way, at: SocketAddrV4, config: &Arc<rustls::ClientConfig>) {
    let mut connect = Vec::new();
    let mut length = 0;
    for _ in 0..200 {
        let started = Instant::now();
        let mut stream = open(world, way, at, config).await;
        stream.write_all(GET).await.unwrap();
        length = one_response(&mut stream).await.len();
        connect.push(started.elapsed());
    }
    let mut stream = open(world, way, at, config).await;
    let mut kept = Vec::new();
    for _ in 0..3_000 {
        let started = Instant::now();
        request(&mut stream, length).await;
        kept.push(started.elapsed());
    }
    let started = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..16 {
        let (world, config) = (world.clone(), config.clone());
        tasks.push(tokio::spawn(async move {
            let mut stream = open(&world, way, at, &config).await;
            for _ in 0..1_000 {
                request(&mut stream, length).await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let rate = 16_000.0 / started.elapsed().as_secs_f64();
    println!(
        "{label:<12} connect+request p50 {:>7.3} ms   kept request p50 {:>7.3} ms   {rate:>8.0} requests/s",
        p50(connect),
        p50(kept)
    );
}

fn p50(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1_000.0
}

async fn download(world: &World, label: &str, way: Way, at: SocketAddrV4) {
    let mut stream = match way {
        Way::Direct => TcpStream::connect(at).await.unwrap(),
        Way::Proxy => world.connect(CLIENT, at).await,
    };
    let started = Instant::now();
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    loop {
        let length = stream.read(&mut buffer).await.unwrap();
        if length == 0 {
            break;
        }
        total += length;
    }
    assert_eq!(total, LARGE_BYTES);
    println!(
        "{label:<12} download {:>8.0} MB/s",
        total as f64 / 1e6 / started.elapsed().as_secs_f64()
    );
}

async fn source() -> SocketAddrV4 {
    let listener = TcpListener::bind((support::address(), 0)).await.unwrap();
    let std::net::SocketAddr::V4(at) = listener.local_addr().unwrap() else {
        unreachable!()
    };
    tokio::spawn(async move {
        let chunk = vec![0; 1_000_000];
        while let Ok((mut stream, _)) = listener.accept().await {
            for _ in 0..LARGE_BYTES / chunk.len() {
                stream.write_all(&chunk).await.unwrap();
            }
        }
    });
    at
}

#[tokio::main]
async fn main() {
    let world = Arc::new(World::start().await);
    let server = servers::http(Some(world.public.server(&["api.test"], &[b"h2", b"http/1.1"]))).await;
    world.name("api.test", &[*server.at.ip()]);
    world.intercept().await;
    let mut roots = world.public.roots();
    roots.roots.extend(world.own.roots().roots);
    let config = Arc::new(support::client_config(roots));
    let port = server.at.port();
    let large = source().await;
    let range = json!({ "id": "large", "cidr": format!("{}/32", large.ip()), "action": "allow" });
    measure(&world, "direct", Way::Direct, server.at, &config).await;
    world
        .policy(
            CLIENT,
            json!([range, { "id": "api", "host": "api.test", "ports": [port], "action": "allow" }]),
        )
        .await;
    world.lookup(CLIENT, "api.test").await;
    measure(&world, "relayed", Way::Proxy, server.at, &config).await;
    world
        .policy(CLIENT, json!([range, { "id": "api", "host": "api.test", "ports": [port], "match": { "methods": ["GET"] }, "action": "allow" }]))
        .await;
    measure(&world, "terminated", Way::Proxy, server.at, &config).await;
    download(&world, "direct", Way::Direct, large).await;
    download(&world, "relayed", Way::Proxy, large).await;
}
