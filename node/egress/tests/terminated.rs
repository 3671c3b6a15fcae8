//! TLS that the proxy terminates, because a rule has to see requests.
mod support;

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use support::{CLIENT, Ca, OTHER, World, exchange, is_cut, one_response, servers};
use tokio::io::AsyncWriteExt;

const BOTH: &[&[u8]] = &[b"h2", b"http/1.1"];

fn rules(port: u16) -> Value {
    json!([
        { "id": "no-admin", "host": "api.test", "ports": [port], "match": { "paths": ["/admin*"] }, "action": "deny" },
        { "id": "mock", "host": "api.test", "ports": [port], "match": { "paths": ["/mock"] }, "action": "respond",
          "respond": { "status": 200, "body": "mocked" } },
        { "id": "api", "host": "api.test", "ports": [port], "action": "transform",
          "transform": { "setHeaders": { "x-team": "red" } } },
    ])
}

async fn world(alpn: &[&[u8]]) -> (World, servers::Server) {
    let world = World::start().await;
    let server = servers::http(Some(world.public.server(&["api.test"], alpn))).await;
    world.name("api.test", &[*server.at.ip()]);
    for client in [CLIENT, OTHER] {
        world.policy(client, rules(server.at.port())).await;
        world.lookup(client, "api.test").await;
    }
    world.intercept().await;
    (world, server)
}

fn get(path: &str, host: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")
}

type Answer = (u16, String);

/// One HTTP/2 request; None where the connection or the stream ends without an answer.
async fn over_http2(world: &World, server: &servers::Server, uri: &str, host: Option<&str>) -> Option<Answer> {
    let stream = world.tls(CLIENT, server.at, "api.test", BOTH).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) = http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().version(Version::HTTP_2).uri(uri);
    if let Some(host) = host {
        request = request.header("host", host);
    }
    let response = sender.send_request(request.body(Full::default()).unwrap()).await.ok()?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.ok()?.to_bytes();
    Some((status, String::from_utf8_lossy(&body).into_owned()))
}

#[tokio::test]
async fn http1_requests_are_seen_changed_refused_and_answered() {
    let (world, server) = world(BOTH).await;
    for (path, code, holds) in [
        ("/ok", "200", "hello"),
        ("/admin", "403", "no-admin"),
        ("/mock", "200", "mocked"),
    ] {
        let mut stream = world.tls(CLIENT, server.at, "api.test", &[b"http/1.1"]).await.unwrap();
        let text = exchange(&mut stream, &get(path, "api.test")).await;
        assert!(
            text.starts_with(&format!("HTTP/1.1 {code}")) && text.contains(holds),
            "{path}: {text}"
        );
    }
    assert_eq!(server.count(), 1);
    assert_eq!(server.last().headers["x-team"], "red");
}

#[tokio::test]
async fn http2_requests_are_too_whatever_the_upstream_speaks() {
    for alpn in [BOTH, &[b"http/1.1"]] {
        let (world, server) = world(alpn).await;
        let url = |path: &str| format!("https://api.test:{}{path}", server.at.port());
        let (status, body) = over_http2(&world, &server, &url("/ok?x=1"), None).await.unwrap();
        assert_eq!((status, body.contains("hello")), (200, true));
        assert_eq!(
            (server.last().uri.as_str(), server.last().headers["x-team"].as_bytes()),
            ("/ok?x=1", &b"red"[..])
        );
        let (status, body) = over_http2(&world, &server, &url("/admin/x"), None).await.unwrap();
        assert_eq!((status, body.contains("no-admin")), (403, true));
        let mismatch = over_http2(&world, &server, "https://evil.test/", None).await.unwrap();
        assert_eq!(
            (mismatch.0, mismatch.1.contains("name_mismatch")),
            (403, true),
            ":authority is not SNI"
        );
        let mismatch = over_http2(&world, &server, &url("/"), Some("evil.test")).await.unwrap();
        assert_eq!(mismatch.0, 403, "Host is not :authority");
        assert_eq!(server.count(), 1);
    }
}

#[tokio::test]
async fn host_must_be_the_sni_and_http1_must_have_one_reading() {
    let (world, server) = world(BOTH).await;
    for request in [
        get("/", "evil.test"),
        get("/", "api.test:1"),
        "GET https://evil.test/ HTTP/1.1\r\nhost: api.test\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: api.test\r\nhost: api.test\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\nhost: api.test\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n"
            .to_owned(),
    ] {
        let mut stream = world.tls(CLIENT, server.at, "api.test", &[b"http/1.1"]).await.unwrap();
        let text = exchange(&mut stream, &request).await;
        assert!(text.starts_with("HTTP/1.1 40"), "{request:?}: {text}");
    }
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn without_an_authority_what_needs_to_be_seen_is_refused() {
    let (world, server) = world(BOTH).await;
    world.ask(json!({ "do": "ca" })).await;
    let error = world.tls(CLIENT, server.at, "api.test", BOTH).await.unwrap_err();
    assert!(error.to_string().contains("AccessDenied"), "{error}");
    assert_eq!(
        world.event(|event| event.kind == "connection").await.reason,
        "no_interception"
    );
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn a_denied_name_is_refused_in_words_when_there_is_an_authority() {
    let (world, server) = world(BOTH).await;
    world.name("other.test", &[*server.at.ip()]);
    let mut stream = world
        .tls(CLIENT, server.at, "other.test", &[b"http/1.1"])
        .await
        .unwrap();
    let text = exchange(&mut stream, &get("/", "other.test")).await;
    assert!(
        text.starts_with("HTTP/1.1 403") && text.contains("egress_denied"),
        "{text}"
    );
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn an_upstream_that_does_not_prove_its_name_gets_nothing() {
    let (world, _) = world(BOTH).await;
    let impostor = Ca::new("impostor");
    for config in [
        impostor.server(&["api.test"], BOTH),
        world.public.server(&["other.test"], BOTH),
    ] {
        let server = servers::http(Some(config)).await;
        world.name("fresh.test", &[*server.at.ip()]);
        world.policy(CLIENT, json!([{ "id": "f", "host": "fresh.test", "ports": [server.at.port()], "match": { "paths": ["/*"] }, "action": "allow" }])).await;
        world.ask(json!({ "do": "remove", "address": OTHER })).await;
        world.proxy.sandbox(CLIENT).unwrap().pins().keep(|_| false);
        world.lookup(CLIENT, "fresh.test").await;
        let mut stream = world
            .tls(CLIENT, server.at, "fresh.test", &[b"http/1.1"])
            .await
            .unwrap();
        let text = exchange(&mut stream, &get("/", "fresh.test")).await;
        assert!(
            text.starts_with("HTTP/1.1 502") && text.contains("egress_failed"),
            "{text}"
        );
        assert_eq!(server.count(), 0);
    }
}

#[tokio::test]
async fn streams_and_websockets_pass_and_a_change_ends_them() {
    let (world, server) = world(BOTH).await;
    let mut stream = world.tls(CLIENT, server.at, "api.test", &[b"http/1.1"]).await.unwrap();
    let ask = "GET /ws HTTP/1.1\r\nhost: api.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    assert!(one_response(&mut stream).await.starts_with("HTTP/1.1 101"));
    stream.write_all(b"frame").await.unwrap();
    let mut frame = [0; 5];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut frame)
        .await
        .unwrap();
    assert_eq!(&frame, b"frame");
    let mut rules = rules(server.at.port());
    rules.as_array_mut().unwrap().insert(
        0,
        json!({ "id": "no-ws", "host": "api.test", "match": { "paths": ["/ws"] }, "action": "deny" }),
    );
    assert_eq!(world.policy(CLIENT, rules).await["cut"], 1);
    assert!(is_cut(&mut stream).await);
}

#[tokio::test]
async fn a_relayed_connection_is_cut_when_a_rule_now_needs_to_see_it() {
    let (world, server) = world(BOTH).await;
    let port = server.at.port();
    world
        .policy(
            CLIENT,
            json!([{ "id": "api", "host": "api.test", "ports": [port], "action": "allow" }]),
        )
        .await;
    let mut relayed = world.tls(CLIENT, server.at, "api.test", &[b"http/1.1"]).await.unwrap();
    relayed
        .write_all(b"GET / HTTP/1.1\r\nhost: api.test\r\n\r\n")
        .await
        .unwrap();
    assert!(one_response(&mut relayed).await.contains("200"));
    assert_eq!(world.policy(CLIENT, rules(port)).await["cut"], 1);
    assert!(is_cut(&mut relayed).await);
}

#[tokio::test]
async fn an_oversized_http2_head_reaches_nobody() {
    let (world, server) = world(BOTH).await;
    let url = format!("https://api.test:{}/ok", server.at.port());
    for (size, passes) in [(100, true), (atoll_egress::limits::HEAD_BYTES, false)] {
        let stream = world.tls(CLIENT, server.at, "api.test", BOTH).await.unwrap();
        let (mut sender, connection) =
            http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        let request = Request::builder()
            .version(Version::HTTP_2)
            .uri(&url)
            .header("x-long", "a".repeat(size));
        let answer = sender.send_request(request.body(Full::default()).unwrap()).await;
        assert_eq!(
            answer.is_ok_and(|response| response.status() == 200),
            passes,
            "{size} bytes"
        );
    }
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn a_certificate_and_key_that_do_not_fit_are_refused() {
    let world = World::start().await;
    let other = Ca::new("other");
    let request = json!({ "do": "ca", "certificate": world.own.pem, "key": other.key_pem });
    let problem = world.try_ask(request).await.unwrap_err();
    assert!(
        problem.contains("certificate authority") && !problem.contains("PRIVATE"),
        "{problem}"
    );
    assert!(world.proxy.authority().is_none());
}
