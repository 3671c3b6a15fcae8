//! Secrets: used where they are bound, over TLS, and nowhere else; never seen inside.
mod support;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use support::{CLIENT, OTHER, World, exchange, is_cut, one_response, servers};
use tokio::io::AsyncWriteExt;

const HOLDER: &str = "atoll_secret_key_0123456789abcdef0123456789abcdef";
const VALUE: &str = "sk-live/\"quoted\"+42";

async fn world(locations: Value) -> (World, servers::Server) {
    let world = World::start().await;
    let server = servers::http(Some(
        world.public.server(&["api.test", "other.test"], &[b"h2", b"http/1.1"]),
    ))
    .await;
    for name in ["api.test", "other.test"] {
        world.name(name, &[*server.at.ip()]);
    }
    let port = server.at.port();
    let rules = json!([
        { "id": "seen", "host": "other.test", "ports": [port], "match": { "paths": ["/*"] }, "action": "allow" },
        { "id": "api", "host": "api.test", "ports": [port], "action": "allow" },
    ]);
    for client in [CLIENT, OTHER] {
        world.policy(client, rules.clone()).await;
        for name in ["api.test", "other.test"] {
            world.lookup(client, name).await;
        }
    }
    world.intercept().await;
    let binding = json!({ "host": "api.test", "ports": [port], "paths": ["/*"], "locations": locations });
    world
        .secrets(
            CLIENT,
            json!([{ "name": "key", "placeholder": HOLDER, "value": VALUE, "bindings": [binding] }]),
        )
        .await;
    (world, server)
}

async fn send(world: &World, server: &servers::Server, host: &str, path: &str, fields: &str, body: &str) -> String {
    let mut stream = world.tls(CLIENT, server.at, host, &[b"http/1.1"]).await.unwrap();
    let length = if body.is_empty() {
        String::new()
    } else {
        format!("content-length: {}\r\n", body.len())
    };
    let request = format!("POST {path} HTTP/1.1\r\nhost: {host}\r\n{fields}{length}connection: close\r\n\r\n{body}");
    exchange(&mut stream, &request).await
}

fn bearer() -> String {
    format!("authorization: Bearer {HOLDER}\r\n")
}

/// `VALUE` is not in a header of the request that came in last.
fn unseen(server: &servers::Server) -> bool {
    let seen = server.last();
    !format!("{:?} {} {}", seen.headers, seen.uri, seen.body).contains("sk-live")
}

#[tokio::test]
async fn each_location_gets_the_value_in_its_own_encoding() {
    let (world, server) = world(json!(["header", "basic", "query", "json", "form"])).await;
    send(&world, &server, "api.test", "/a", &bearer(), "").await;
    assert_eq!(server.last().headers["authorization"], format!("Bearer {VALUE}"));
    assert_eq!(server.last().headers["accept-encoding"], "identity");
    let basic = STANDARD.encode(format!("user:{HOLDER}"));
    send(
        &world,
        &server,
        "api.test",
        "/a",
        &format!("authorization: Basic {basic}\r\n"),
        "",
    )
    .await;
    assert_eq!(
        server.last().headers["authorization"],
        format!("Basic {}", STANDARD.encode(format!("user:{VALUE}")))
    );
    send(&world, &server, "api.test", &format!("/a?key={HOLDER}&b=1"), "", "").await;
    assert_eq!(server.last().uri, "/a?key=sk-live%2F%22quoted%22%2B42&b=1");
    let body = json!({ "deep": { "key": HOLDER } }).to_string();
    send(
        &world,
        &server,
        "api.test",
        "/a",
        "content-type: application/json; charset=utf-8\r\n",
        &body,
    )
    .await;
    assert_eq!(server.last().body, json!({ "deep": { "key": VALUE } }).to_string());
    assert_eq!(
        server.last().headers["content-length"],
        server.last().body.len().to_string()
    );
    send(
        &world,
        &server,
        "api.test",
        "/a",
        "content-type: application/x-www-form-urlencoded\r\n",
        &format!("k={HOLDER}"),
    )
    .await;
    assert_eq!(server.last().body, "k=sk-live%2F%22quoted%22%2B42");
    let event = world
        .event(|event| event.kind == "request" && event.secrets == ["key"])
        .await;
    assert!(!serde_json::to_string(&*event).unwrap().contains("sk-live"));
}

#[tokio::test]
async fn a_location_that_is_not_bound_keeps_the_placeholder() {
    for (bound, fields, path, body) in [
        ("query", bearer(), "/a".to_owned(), String::new()),
        ("header", String::new(), format!("/a?key={HOLDER}"), String::new()),
        ("header", String::new(), format!("/a/{HOLDER}"), String::new()),
        (
            "header",
            "content-type: application/json\r\n".to_owned(),
            "/a".to_owned(),
            format!("\"{HOLDER}\""),
        ),
        (
            "json",
            "content-type: text/plain\r\n".to_owned(),
            "/a".to_owned(),
            HOLDER.to_owned(),
        ),
        (
            "header",
            format!("authorization: Basic {}\r\n", STANDARD.encode(format!("u:{HOLDER}"))),
            "/a".to_owned(),
            String::new(),
        ),
    ] {
        let (world, server) = world(json!([bound])).await;
        let text = send(&world, &server, "api.test", &path, &fields, &body).await;
        assert!(
            text.starts_with("HTTP/1.1 200") && unseen(&server),
            "{bound} {fields} {path} {body}"
        );
    }
}

#[tokio::test]
async fn another_host_sandbox_port_method_or_clear_text_keeps_the_placeholder() {
    let (world, server) = world(json!(["header"])).await;
    send(&world, &server, "other.test", "/a", &bearer(), "").await;
    assert!(unseen(&server));
    let event = world
        .event(|event| event.kind == "request" && event.note.is_some())
        .await;
    assert!(event.note.unwrap().contains("not bound") && event.secrets.is_empty());
    assert_eq!(event.unbound, ["key"]);
    // Another sandbox has no such secret: its connection is not even terminated.
    let mut stream = world.tls(OTHER, server.at, "api.test", &[b"http/1.1"]).await.unwrap();
    exchange(
        &mut stream,
        &format!(
            "GET / HTTP/1.1\r\nhost: api.test\r\n{}connection: close\r\n\r\n",
            bearer()
        ),
    )
    .await;
    assert!(unseen(&server));
    let clear = servers::http(None).await;
    world.name("api.test", &[*clear.at.ip()]);
    world
        .policy(
            CLIENT,
            json!([{ "id": "api", "host": "api.test", "ports": [clear.at.port()], "action": "allow" }]),
        )
        .await;
    world.proxy.sandbox(CLIENT).unwrap().pins().keep(|_| false);
    world.lookup(CLIENT, "api.test").await;
    let binding =
        json!({ "host": "api.test", "ports": [clear.at.port()], "methods": ["GET"], "locations": ["header"] });
    world
        .secrets(
            CLIENT,
            json!([{ "name": "key", "placeholder": HOLDER, "value": VALUE, "bindings": [binding] }]),
        )
        .await;
    let mut stream = world.connect(CLIENT, clear.at).await;
    let text = exchange(
        &mut stream,
        &format!(
            "GET / HTTP/1.1\r\nhost: api.test\r\n{}connection: close\r\n\r\n",
            bearer()
        ),
    )
    .await;
    assert!(text.contains("200 OK") && unseen(&clear), "{text}");
}

#[tokio::test]
async fn methods_paths_and_header_names_limit_a_binding() {
    let (world, server) = world(json!(["header"])).await;
    let binding = json!({ "host": "api.test", "ports": [server.at.port()], "methods": ["POST"], "paths": ["/v1/*"],
        "locations": ["header"], "headers": ["x-key"] });
    world
        .secrets(
            CLIENT,
            json!([{ "name": "key", "placeholder": HOLDER, "value": VALUE, "bindings": [binding] }]),
        )
        .await;
    let own = format!("x-key: {HOLDER}\r\n");
    send(&world, &server, "api.test", "/v1/a", &own, "").await;
    assert_eq!(server.last().headers["x-key"], VALUE);
    for (path, fields) in [("/v1/a", bearer()), ("/v2/a", own.clone()), ("/v1/../v2", own.clone())] {
        send(&world, &server, "api.test", path, &fields, "").await;
        assert!(unseen(&server), "{path} {fields}");
    }
}

#[tokio::test]
async fn a_placeholder_split_over_chunks_and_a_long_body_are_rewritten() {
    let (world, server) = world(json!(["json"])).await;
    let mut stream = world.tls(CLIENT, server.at, "api.test", &[b"http/1.1"]).await.unwrap();
    let head = "POST /a HTTP/1.1\r\nhost: api.test\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for byte in format!("[\"{HOLDER}\"]").bytes() {
        stream
            .write_all(format!("1\r\n{}\r\n", char::from(byte)).as_bytes())
            .await
            .unwrap();
        stream.flush().await.unwrap();
    }
    let text = exchange(&mut stream, "0\r\n\r\n").await;
    assert!(text.contains("200 OK"), "{text}");
    assert_eq!(server.last().body, json!([VALUE]).to_string());
    let filler = "x".repeat(atoll_egress::limits::BODY_REWRITE_BYTES);
    let body = json!([filler, HOLDER, filler]).to_string();
    send(
        &world,
        &server,
        "api.test",
        "/a",
        "content-type: application/json\r\n",
        &body,
    )
    .await;
    assert_eq!(server.last().body, json!([filler, VALUE, filler]).to_string());
}

#[tokio::test]
async fn responses_are_scrubbed_in_headers_bodies_and_over_chunks() {
    let (world, server) = world(json!(["header", "json", "basic"])).await;
    let mask = "*".repeat(VALUE.len());
    let text = send(&world, &server, "api.test", "/echo", &bearer(), "").await;
    assert!(text.ends_with(&format!("Bearer {mask}")), "{text}");
    let text = send(&world, &server, "api.test", "/echo-chunks", &bearer(), "").await;
    assert!(
        !text.contains("sk-live") && !text.contains("quoted") && text.contains("200 OK"),
        "{text}"
    );
    let text = send(&world, &server, "api.test", "/echo-header", &bearer(), "").await;
    assert!(text.contains(&format!("x-echo: Bearer {mask}")), "{text}");
    let basic = format!("authorization: Basic {}\r\n", STANDARD.encode(format!("user:{HOLDER}")));
    let text = send(&world, &server, "api.test", "/echo", &basic, "").await;
    assert!(
        text.contains("****") && !text.contains(&STANDARD.encode(format!("user:{VALUE}"))[8..20]),
        "{text}"
    );
    let text = send(
        &world,
        &server,
        "api.test",
        "/echo",
        "content-type: application/json\r\n",
        &json!([HOLDER]).to_string(),
    )
    .await;
    assert!(text.contains("****") && !text.contains("quoted"), "{text}");
    // A part of the resource would be a part of the value.
    send(
        &world,
        &server,
        "api.test",
        "/echo",
        &format!("{}range: bytes=0-3\r\n", bearer()),
        "",
    )
    .await;
    assert!(!server.last().headers.contains_key("range"));
    // What cannot be read is told.
    send(
        &world,
        &server,
        "api.test",
        "/gzip",
        "content-type: text/plain\r\n",
        "x",
    )
    .await;
    world
        .event(|event| event.note.is_some_and(|note| note.contains("not scrubbed")))
        .await;
}

#[tokio::test]
async fn rotation_is_in_force_at_once_and_binding_cuts_what_was_relayed() {
    let (world, server) = world(json!(["header"])).await;
    let port = server.at.port();
    world.secrets(CLIENT, json!([])).await;
    let mut relayed = world.tls(CLIENT, server.at, "api.test", &[b"http/1.1"]).await.unwrap();
    relayed
        .write_all(format!("GET / HTTP/1.1\r\nhost: api.test\r\n{}\r\n", bearer()).as_bytes())
        .await
        .unwrap();
    assert!(one_response(&mut relayed).await.contains("200"));
    assert!(unseen(&server));
    let binding = json!({ "host": "api.test", "ports": [port], "locations": ["header"] });
    let secret = |value: &str| json!([{ "name": "key", "placeholder": HOLDER, "value": value, "bindings": [binding] }]);
    let answer = world.secrets(CLIENT, secret("first-value")).await;
    assert_eq!((&answer["cut"], &answer["secrets"]), (&json!(1), &json!(["key"])));
    assert!(is_cut(&mut relayed).await);
    send(&world, &server, "api.test", "/a", &bearer(), "").await;
    assert_eq!(server.last().headers["authorization"], "Bearer first-value");
    world.secrets(CLIENT, secret("second-value")).await;
    send(&world, &server, "api.test", "/a", &bearer(), "").await;
    assert_eq!(server.last().headers["authorization"], "Bearer second-value");
}

#[tokio::test]
async fn a_rule_can_bring_the_placeholder_itself() {
    let (world, server) = world(json!(["header"])).await;
    let rules = json!([{ "id": "auth", "host": "api.test", "ports": [server.at.port()], "action": "transform",
        "transform": { "setHeaders": { "authorization": format!("Bearer {HOLDER}") } } }]);
    world.policy(CLIENT, rules).await;
    send(&world, &server, "api.test", "/a", "", "").await;
    assert_eq!(server.last().headers["authorization"], format!("Bearer {VALUE}"));
}

#[tokio::test]
async fn secrets_that_could_leak_are_refused_without_being_quoted() {
    let (world, _) = world(json!(["header"])).await;
    let binding = json!({ "host": "api.test", "locations": ["header"] });
    for (value, placeholder, binding) in [
        ("short", HOLDER, binding.clone()),
        ("line\r\nbreak-break", HOLDER, binding.clone()),
        ("long-enough-value", "short", binding.clone()),
        (
            "long-enough-value",
            HOLDER,
            json!({ "host": "*", "locations": ["header"] }),
        ),
        (
            "long-enough-value",
            HOLDER,
            json!({ "host": "10.0.0.1", "locations": ["header"] }),
        ),
        (
            "long-enough-value",
            HOLDER,
            json!({ "host": "api.test", "locations": [] }),
        ),
    ] {
        let secrets = json!([{ "name": "key", "placeholder": placeholder, "value": value, "bindings": [binding] }]);
        let problem = world
            .try_ask(json!({ "do": "secrets", "address": CLIENT, "secrets": secrets }))
            .await
            .unwrap_err();
        assert!(!problem.contains(value), "{problem}");
    }
}
