//! A proxy in this process with real sockets: clients on 127.0.0.x, servers on 127.64.0.0/10, which the floor of the
//! tests excepts, and a small DNS server above it. Only the original destination is told instead of redirected.
#![allow(dead_code)]
pub mod servers;

use atoll_egress::control::command::{Command, ListenKind};
use atoll_egress::events::Event;
use atoll_egress::proxy::Proxy;
use atoll_egress::tcp::original::OriginalDestination;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub const WAIT: Duration = Duration::from_secs(10);
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
pub const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 12);

#[derive(Default)]
struct Told(Mutex<HashMap<SocketAddr, SocketAddrV4>>);

impl OriginalDestination for Told {
    fn of(&self, stream: &TcpStream) -> io::Result<SocketAddrV4> {
        let told = self.0.lock().unwrap().get(&stream.peer_addr()?).copied();
        told.ok_or_else(|| io::Error::other("not redirected"))
    }
}

pub struct Ca {
    pub pem: String,
    pub key_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let key_pem = key.serialize_pem();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            key_pem,
            issuer: Issuer::new(params, key),
        }
    }

    pub fn roots(&self) -> RootCertStore {
        use rustls::pki_types::pem::PemObject;
        let mut roots = RootCertStore::empty();
        roots
            .add(rustls::pki_types::CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap())
            .unwrap();
        roots
    }

    /// A server that proves to be each of these names.
    pub fn server(&self, names: &[&str], alpn: &[&[u8]]) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &self.issuer)
            .unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Arc::new(config)
    }
}

pub struct World {
    pub proxy: Arc<Proxy>,
    pub tcp: SocketAddr,
    pub dns: SocketAddr,
    pub dns_tcp: SocketAddr,
    told: Arc<Told>,
    names: Arc<Mutex<HashMap<String, Vec<Ipv4Addr>>>>,
    /// The one that real servers have, and ours.
    pub public: Ca,
    pub own: Ca,
    version: Mutex<u64>,
}

impl World {
    pub async fn start() -> Self {
        let names: Arc<Mutex<HashMap<String, Vec<Ipv4Addr>>>> = Arc::default();
        let upstream_dns = servers::dns(names.clone()).await;
        let (public, own) = (Ca::new("public"), Ca::new("atoll"));
        let told = Arc::new(Told::default());
        let proxy = Arc::new(Proxy::new(told.clone(), Arc::new(public.roots()), vec![upstream_dns]).unwrap());
        let mut bound = Vec::new();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        bound.push(tcp.local_addr().unwrap());
        proxy.listen(ListenKind::Tcp, Some(tcp.into())).ok().unwrap();
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        bound.push(udp.local_addr().unwrap());
        proxy.listen(ListenKind::DnsUdp, Some(udp.into())).ok().unwrap();
        let stream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        bound.push(stream.local_addr().unwrap());
        proxy.listen(ListenKind::DnsTcp, Some(stream.into())).ok().unwrap();
        let world = Self {
            proxy,
            tcp: bound[0],
            dns: bound[1],
            dns_tcp: bound[2],
            told,
            names,
            public,
            own,
            version: Mutex::new(0),
        };
        world
            .ask(json!({ "do": "floor", "floor": { "allow": [{ "cidr": "127.64.0.0/10" }] } }))
            .await;
        world
    }

    /// One request of the control socket; an error where it is refused.
    pub async fn try_ask(&self, request: Value) -> Result<Value, String> {
        let command: Command = serde_json::from_value(request).unwrap();
        self.proxy
            .apply(command, &mut Vec::new())
            .await
            .map_err(|refused| refused.message)
    }

    pub async fn ask(&self, request: Value) -> Value {
        self.try_ask(request).await.unwrap()
    }

    pub async fn intercept(&self) {
        self.ask(json!({ "do": "ca", "certificate": self.own.pem, "key": self.own.key_pem }))
            .await;
    }

    pub async fn policy(&self, client: Ipv4Addr, rules: Value) -> Value {
        self.policy_or(client, "deny", rules).await
    }

    pub async fn policy_or(&self, client: Ipv4Addr, otherwise: &str, rules: Value) -> Value {
        let version = {
            let mut version = self.version.lock().unwrap();
            *version += 1;
            *version
        };
        let policy = json!({ "version": version, "default": otherwise, "rules": rules });
        self.ask(json!({ "do": "policy", "address": client, "policy": policy }))
            .await
    }

    pub async fn secrets(&self, client: Ipv4Addr, secrets: Value) -> Value {
        self.ask(json!({ "do": "secrets", "address": client, "secrets": secrets }))
            .await
    }

    pub fn name(&self, name: &str, addresses: &[Ipv4Addr]) {
        self.names.lock().unwrap().insert(name.to_owned(), addresses.to_vec());
    }

    /// The code and the addresses that a client gets.
    pub async fn lookup(&self, client: Ipv4Addr, name: &str) -> (u8, Vec<Ipv4Addr>) {
        let reply = self.query(client, &question(name, 1)).await.expect("an answer");
        (reply[3] & 15, servers::addresses(&reply))
    }

    pub async fn query(&self, client: Ipv4Addr, packet: &[u8]) -> Option<Vec<u8>> {
        let socket = UdpSocket::bind((client, 0)).await.unwrap();
        socket.send_to(packet, self.dns).await.unwrap();
        let mut buffer = vec![0; 4096];
        let length = timeout(Duration::from_secs(5), socket.recv(&mut buffer))
            .await
            .ok()?
            .unwrap();
        buffer.truncate(length);
        Some(buffer)
    }

    pub async fn connect(&self, client: Ipv4Addr, to: SocketAddrV4) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((client, 0).into()).unwrap();
        self.told.0.lock().unwrap().insert(socket.local_addr().unwrap(), to);
        socket.connect(self.tcp).await.unwrap()
    }

    /// A TLS client that trusts real servers and our authority.
    pub async fn tls(
        &self,
        client: Ipv4Addr,
        to: SocketAddrV4,
        sni: &str,
        alpn: &[&[u8]],
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = self.public.roots();
        roots.roots.extend(self.own.roots().roots);
        let mut config = client_config(roots);
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let stream = self.connect(client, to).await;
        let name = ServerName::try_from(sni.to_owned()).unwrap();
        timeout(WAIT, TlsConnector::from(Arc::new(config)).connect(name, stream)).await?
    }

    /// Waits for an event that fits: events are written when the work is done, which a client may see first.
    pub async fn event(&self, fits: impl Fn(&Event) -> bool) -> Arc<Event> {
        let found = async {
            let mut cursor = 0;
            loop {
                let batch = self.proxy.events.after(cursor, None);
                if let Some(event) = batch.events.iter().find(|event| fits(event)) {
                    return event.clone();
                }
                cursor = batch.next;
                self.proxy.events.wait(cursor).await;
            }
        };
        timeout(WAIT, found).await.expect("an event that fits")
    }
}

pub fn client_config(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

pub fn question(name: &str, kind: u16) -> Vec<u8> {
    let mut packet = atoll_egress::dns::message::question(0x4242, name);
    let at = packet.len() - 4;
    packet[at..at + 2].copy_from_slice(&kind.to_be_bytes());
    packet
}

static NEXT: AtomicU32 = AtomicU32::new(1);

/// An address of its own for each server.
pub fn address() -> Ipv4Addr {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Ipv4Addr::from(Ipv4Addr::new(127, 64, 0, 0).to_bits() + (std::process::id() % 1_000) * 256 + number)
}

/// Sends a request and reads to the end of the connection; empty after a reset.
pub async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> String {
    // A refused connection may be gone before everything is written.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut response = Vec::new();
    let _ = timeout(WAIT, stream.read_to_end(&mut response))
        .await
        .expect("an end of the connection");
    String::from_utf8_lossy(&response).into_owned()
}

/// Reads one response with a content-length, and leaves the connection open.
pub async fn one_response(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = Vec::new();
    let read = async {
        loop {
            let mut byte = [0];
            if stream.read(&mut byte).await.unwrap_or(0) == 0 {
                return;
            }
            text.push(byte[0]);
            let Some(end) = memchr::memmem::find(&text, b"\r\n\r\n") else {
                continue;
            };
            let head = String::from_utf8_lossy(&text[..end]).to_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if text.len() >= end + 4 + length.unwrap_or(0) {
                return;
            }
        }
    };
    timeout(WAIT, read).await.expect("a response");
    String::from_utf8_lossy(&text).into_owned()
}

/// Whether the other side ended it: an end or a reset.
pub async fn is_cut(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    let mut byte = [0];
    matches!(
        timeout(Duration::from_secs(2), stream.read(&mut byte)).await,
        Ok(Ok(0) | Err(_))
    )
}
