//! Hostile bytes, bounded and repeatable: nothing panics, nothing is allowed that was not.
mod support;

use atoll_egress::dns::message::{Query, question, read_answer};
use atoll_egress::tls::hello::{self, Hello};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use support::{CLIENT, World, exchange, servers};

/// xorshift: the same bytes in every run.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// A few bytes changed, cut out, doubled or added.
    fn mutate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(5) {
                0 if !bytes.is_empty() => bytes[at] = self.next() as u8,
                1 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                2 => bytes.truncate(at),
                3 => bytes.insert(at, self.next() as u8),
                _ => {
                    let part = bytes[at..bytes.len().min(at + self.below(32))].to_vec();
                    bytes.splice(at..at, part);
                }
            }
        }
        bytes
    }
}

fn hello() -> Vec<u8> {
    let config = support::client_config(rustls::RootCertStore::empty());
    let name = rustls::pki_types::ServerName::try_from("api.test").unwrap();
    let mut bytes = Vec::new();
    rustls::ClientConnection::new(Arc::new(config), name)
        .unwrap()
        .write_tls(&mut bytes)
        .unwrap();
    bytes
}

#[test]
fn hellos_and_dns_packets_never_panic_and_never_name_what_they_do_not_hold() {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let good = hello();
    for _ in 0..60_000 {
        let bytes = chance.mutate(&good);
        if let Hello::Whole { name: Some(name), .. } = hello::read(&bytes) {
            let lower = bytes.to_ascii_lowercase();
            assert!(memchr::memmem::find(&lower, name.as_bytes()).is_some());
        }
    }
    let query = question(7, "deep.api.test");
    let reply = Query::parse(&query).unwrap().answer(
        atoll_egress::dns::message::Code::NoError,
        &[[1, 2, 3, 4].into(), [5, 6, 7, 8].into()],
        60,
    );
    for _ in 0..60_000 {
        if let Some(query) = Query::parse(&chance.mutate(&query)) {
            assert!(
                query
                    .name
                    .is_none_or(|name| atoll_egress::name::normalise(&name) == Some(name))
            );
        }
        read_answer(&chance.mutate(&reply), 7, "deep.api.test");
    }
}

#[tokio::test]
async fn mutated_requests_reach_only_the_allowed_host_and_path() {
    let world = World::start().await;
    let server = servers::http(None).await;
    world.name("api.test", &[*server.at.ip()]);
    let rules = json!([{ "id": "api", "host": "api.test", "ports": [server.at.port()],
        "match": { "methods": ["GET"], "paths": ["/v1/*"] }, "action": "allow" }]);
    world.policy(CLIENT, rules).await;
    world.lookup(CLIENT, "api.test").await;
    let mut chance = Chance(0x1234_5678_9abc_def1);
    let good = b"GET /v1/a HTTP/1.1\r\nhost: api.test\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let mut answered = 0;
    for _ in 0..400 {
        let mut bytes = chance.mutate(good);
        // Ends what the mutation left unfinished.
        bytes.extend_from_slice(b"\r\n\r\n\r\n\r\n");
        let mut stream = world.connect(CLIENT, server.at).await;
        tokio::io::AsyncWriteExt::write_all(&mut stream, &bytes).await.unwrap();
        tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
        answered += usize::from(exchange(&mut stream, "").await.contains(" 200 OK"));
    }
    let seen = server.seen.lock().unwrap();
    assert!(
        answered > 10 && seen.len() == answered,
        "{answered} answered, {} seen",
        seen.len()
    );
    for seen in seen.iter() {
        assert!(
            seen.method == "GET"
                && seen.uri.starts_with("/v1/")
                && seen.headers["host"].as_bytes().starts_with(b"api.test")
        );
    }
}

#[tokio::test]
async fn mutated_hellos_reach_only_the_allowed_name() {
    let world = World::start().await;
    let server = servers::http(Some(world.public.server(&["api.test"], &[]))).await;
    world.name("api.test", &[*server.at.ip()]);
    world
        .policy(
            CLIENT,
            json!([{ "id": "api", "host": "api.test", "ports": [server.at.port()], "action": "allow" }]),
        )
        .await;
    world.lookup(CLIENT, "api.test").await;
    let mut chance = Chance(0x0f0f_1e1e_2d2d_3c3c);
    let good = hello();
    let mut passed = 0;
    for _ in 0..300 {
        let bytes = chance.mutate(&good);
        let may_pass = matches!(hello::read(&bytes), Hello::Whole { name: Some(name), .. } if name == "api.test");
        let before = server.connections.load(Ordering::SeqCst);
        let mut stream = world.connect(CLIENT, server.at).await;
        tokio::io::AsyncWriteExt::write_all(&mut stream, &bytes).await.unwrap();
        tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
        exchange(&mut stream, "").await;
        let reached = server.connections.load(Ordering::SeqCst) - before;
        assert!(reached == 0 || may_pass, "{bytes:?}");
        passed += reached;
    }
    assert!(passed > 0, "some mutations leave the name as it is");
}
