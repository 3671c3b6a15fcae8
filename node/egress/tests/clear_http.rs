//! HTTP/1.1 in clear text: each request decided anew, and none with two readings.
mod support;

use serde_json::{Value, json};
use support::{CLIENT, OTHER, World, exchange, is_cut, one_response, servers};
use tokio::io::AsyncWriteExt;

async fn world(rules: impl Fn(u16) -> Value) -> (World, servers::Server) {
    let world = World::start().await;
    let server = servers::http(None).await;
    for name in ["api.test", "other.test"] {
        world.name(name, &[*server.at.ip()]);
    }
    for client in [CLIENT, OTHER] {
        world.policy(client, rules(server.at.port())).await;
        world.lookup(client, "api.test").await;
        world.lookup(client, "other.test").await;
    }
    (world, server)
}

fn allow(port: u16) -> Value {
    json!([{ "id": "api", "host": "api.test", "ports": [port], "action": "allow" }])
}

fn get(path: &str, host: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")
}

#[tokio::test]
async fn the_host_decides_and_a_refusal_says_why() {
    let (world, server) = world(allow).await;
    let mut stream = world.connect(CLIENT, server.at).await;
    assert!(
        exchange(&mut stream, &get("/a?token=x", "api.test"))
            .await
            .contains("200 OK")
    );
    let event = world.event(|event| event.kind == "request").await;
    assert_eq!(
        (event.path.as_deref(), event.status),
        (Some("/a"), Some(200)),
        "without its query"
    );
    let mut stream = world.connect(CLIENT, server.at).await;
    let text = exchange(&mut stream, &get("/a", "other.test")).await;
    assert!(
        text.starts_with("HTTP/1.1 403") && text.contains("x-atoll-rule: none"),
        "{text}"
    );
    let body: Value = serde_json::from_str(text.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(
        (&body["code"], &body["reason"]),
        (&json!("egress_denied"), &json!("default"))
    );
    assert!(body["remedy"].as_str().unwrap().contains("ask its owner"));
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn the_host_has_to_be_pinned_to_where_the_connection_goes() {
    let (world, server) =
        world(|port| json!([{ "id": "all", "host": "*.test", "ports": [port], "action": "allow" }])).await;
    let elsewhere = servers::http(None).await;
    let to = std::net::SocketAddrV4::new(*elsewhere.at.ip(), server.at.port());
    for (host, at, code) in [
        ("api.test", server.at, "200"),
        ("API.TEST.", server.at, "200"),
        ("api.test", to, "403"),
        ("unknown.test", server.at, "403"),
        ("api.test:1", server.at, "403"),
    ] {
        let mut stream = world.connect(CLIENT, at).await;
        let text = exchange(&mut stream, &get("/", host)).await;
        assert!(text.starts_with(&format!("HTTP/1.1 {code}")), "{host} at {at}: {text}");
    }
    assert_eq!(elsewhere.count(), 0);
}

#[tokio::test]
async fn every_request_of_a_kept_connection_is_decided() {
    let (world, server) = world(|port| {
        json!([
            { "id": "no-admin", "host": "api.test", "ports": [port], "match": { "paths": ["/admin*"] }, "action": "deny" },
            { "id": "read", "host": "api.test", "ports": [port], "match": { "methods": ["GET"] }, "action": "allow" },
        ])
    })
    .await;
    let mut stream = world.connect(CLIENT, server.at).await;
    for (line, code, rule) in [
        ("GET /ok", "200", None),
        ("GET /admin/x", "403", Some("no-admin")),
        ("GET /%61dmin/x", "403", Some("no-admin")),
        ("GET //admin", "403", Some("no-admin")),
        ("GET /a/../admin", "403", Some("no-admin")),
        ("DELETE /ok", "403", Some("none")),
        ("GET /again", "200", None),
    ] {
        stream
            .write_all(format!("{line} HTTP/1.1\r\nhost: api.test\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let text = one_response(&mut stream).await;
        assert!(text.starts_with(&format!("HTTP/1.1 {code}")), "{line}: {text}");
        assert!(
            rule.is_none_or(|rule| text.contains(&format!("x-atoll-rule: {rule}"))),
            "{line}: {text}"
        );
    }
    // Two at once: the second is not carried by the first.
    let pipelined = format!("GET /1 HTTP/1.1\r\nhost: api.test\r\n\r\n{}", get("/admin", "api.test"));
    let text = exchange(&mut stream, &pipelined).await;
    assert!(text.contains("HTTP/1.1 200") && text.contains("HTTP/1.1 403"), "{text}");
    let paths: Vec<String> = server
        .seen
        .lock()
        .unwrap()
        .iter()
        .map(|seen| seen.uri.clone())
        .collect();
    assert_eq!(paths, ["/ok", "/again", "/1"]);
}

#[tokio::test]
async fn what_has_two_readings_reaches_nobody() {
    let (world, server) = world(allow).await;
    let post = |fields: &str, body: &str| format!("POST / HTTP/1.1\r\nhost: api.test\r\n{fields}\r\n\r\n{body}");
    for request in [
        post(
            "content-length: 5\r\ntransfer-encoding: chunked",
            "0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: api.test\r\n\r\n",
        ),
        post("transfer-encoding: chunked\r\ncontent-length: 5", "0\r\n\r\n"),
        post("content-length: 3\r\ncontent-length: 4", "abcd"),
        post("host: other.test", ""),
        post("transfer-encoding: chunked, identity", ""),
        "GET http://api.test/ HTTP/1.1\r\nhost: api.test\r\n\r\n".to_owned(),
        "GET http://other.test/ HTTP/1.1\r\nhost: api.test\r\n\r\n".to_owned(),
        "CONNECT other.test:443 HTTP/1.1\r\nhost: api.test\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\nhost: api.test\n\n".to_owned(),
        format!("GET / HTTP/1.1\r\nhost: api.test\r\nx: {}\r\n\r\n", "a".repeat(100_000)),
    ] {
        let mut stream = world.connect(CLIENT, server.at).await;
        let text = exchange(&mut stream, &request).await;
        let head = &request[..request.len().min(90)];
        assert!(!text.contains("HTTP/1.1 200"), "{head:?}: {text}");
    }
    assert_eq!(server.count(), 0);
    let mut stream = world.connect(CLIENT, server.at).await;
    let chunked = post(
        "transfer-encoding: chunked\r\nconnection: close",
        "3\r\nabc\r\n0\r\n\r\n",
    );
    assert!(exchange(&mut stream, &chunked).await.contains("200 OK"));
    assert_eq!(server.last().body, "abc");
}

#[tokio::test]
async fn transform_and_respond_do_what_they_say() {
    let (world, server) = world(|port| {
        json!([
            { "id": "mock", "host": "api.test", "ports": [port], "match": { "paths": ["/mock"] }, "action": "respond",
              "respond": { "status": 418, "headers": { "x-mock": "yes" }, "body": "short and stout" } },
            { "id": "stamp", "host": "api.test", "ports": [port], "action": "transform",
              "transform": { "setHeaders": { "x-team": "red", "x-old": "new" }, "removeHeaders": ["cookie"] } },
        ])
    })
    .await;
    let mut stream = world.connect(CLIENT, server.at).await;
    let text = exchange(&mut stream, &get("/mock", "api.test")).await;
    assert!(text.starts_with("HTTP/1.1 418") && text.contains("x-mock: yes") && text.ends_with("short and stout"));
    assert_eq!(server.count(), 0);
    let mut stream = world.connect(CLIENT, server.at).await;
    exchange(
        &mut stream,
        &get(
            "/",
            "api.test\r\ncookie: a\r\nx-old: old\r\nconnection: x-hop\r\nx-hop: 1",
        ),
    )
    .await;
    let headers = server.last().headers;
    assert_eq!(
        (headers["x-team"].as_bytes(), headers["x-old"].as_bytes()),
        (&b"red"[..], &b"new"[..])
    );
    assert!(!headers.contains_key("cookie") && !headers.contains_key("x-hop"));
    assert_eq!(
        world
            .event(|event| event.kind == "request" && event.action == "transform")
            .await
            .rule
            .as_deref(),
        Some("stamp")
    );
}

#[tokio::test]
async fn upstream_connections_are_kept_for_one_sandbox_and_never_shared() {
    use std::sync::atomic::Ordering::SeqCst;
    let (world, server) = world(allow).await;
    for _ in 0..3 {
        let mut stream = world.connect(CLIENT, server.at).await;
        assert!(exchange(&mut stream, &get("/", "api.test")).await.contains("200"));
    }
    assert_eq!(server.connections.load(SeqCst), 1);
    let mut stream = world.connect(OTHER, server.at).await;
    assert!(exchange(&mut stream, &get("/", "api.test")).await.contains("200"));
    assert_eq!(server.connections.load(SeqCst), 2);
    world.policy(CLIENT, allow(server.at.port())).await;
    let mut stream = world.connect(CLIENT, server.at).await;
    assert!(exchange(&mut stream, &get("/", "api.test")).await.contains("200"));
    assert_eq!(
        server.connections.load(SeqCst),
        3,
        "not kept over a change of the rules"
    );
}

#[tokio::test]
async fn a_changed_policy_ends_a_response_under_way() {
    let (world, server) = world(allow).await;
    let mut slow = world.connect(CLIENT, server.at).await;
    slow.write_all(get("/slow", "api.test").as_bytes()).await.unwrap();
    let mut buffer = [0; 2048];
    let mut text = String::new();
    while !text.contains("first") {
        let length = tokio::io::AsyncReadExt::read(&mut slow, &mut buffer).await.unwrap();
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    let answer = world
        .policy(CLIENT, json!([{ "id": "x", "host": "x.test", "action": "allow" }]))
        .await;
    assert_eq!(answer["cut"], 1);
    assert!(is_cut(&mut slow).await);
}

#[tokio::test]
async fn websockets_pass_and_other_upgrades_do_not() {
    let (world, server) = world(allow).await;
    let mut stream = world.connect(CLIENT, server.at).await;
    let ask = |path: &str, protocol: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: api.test\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n")
    };
    stream.write_all(ask("/ws", "websocket").as_bytes()).await.unwrap();
    assert!(one_response(&mut stream).await.starts_with("HTTP/1.1 101"));
    stream.write_all(b"frame").await.unwrap();
    let mut frame = [0; 5];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut frame)
        .await
        .unwrap();
    assert_eq!(&frame, b"frame");
    world
        .event(|event| event.action == "open" && event.status == Some(101))
        .await;
    let answer = world.policy(CLIENT, json!([])).await;
    assert_eq!(answer["cut"], 1);
    assert!(is_cut(&mut stream).await);
    let mut stream = world.connect(OTHER, server.at).await;
    stream.write_all(ask("/", "h2c").as_bytes()).await.unwrap();
    assert!(one_response(&mut stream).await.starts_with("HTTP/1.1 200"));
    assert!(!server.last().headers.contains_key("upgrade") && !server.last().headers.contains_key("connection"));
}
