//! Connections that are relayed: TLS by name, tcp by rule, and everything else reset.
mod support;

use serde_json::json;
use std::net::SocketAddrV4;
use support::{CLIENT, OTHER, World, exchange, is_cut, servers};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const GET: &str = "GET /x HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\n\r\n";

async fn tls_server(world: &World, names: &[&str]) -> servers::Server {
    let server = servers::http(Some(world.public.server(names, &[b"http/1.1"]))).await;
    for name in names {
        world.name(name, &[*server.at.ip()]);
    }
    server
}

#[tokio::test]
async fn an_allowed_name_passes_untouched_and_another_does_not() {
    let world = World::start().await;
    let server = tls_server(&world, &["api.test", "evil.test"]).await;
    let port = server.at.port();
    world
        .policy(
            CLIENT,
            json!([{ "id": "api", "host": "api.test", "ports": [port], "action": "allow" }]),
        )
        .await;
    world.lookup(CLIENT, "api.test").await;
    let mut stream = world.tls(CLIENT, server.at, "api.test", &[]).await.unwrap();
    let issuer = stream.get_ref().1.peer_certificates().unwrap().len();
    assert_eq!(issuer, 1, "the server's own certificate");
    assert!(exchange(&mut stream, GET).await.contains("hello"));
    drop(stream);
    let event = world
        .event(|event| event.kind == "connection" && event.action == "allow")
        .await;
    assert_eq!(
        (event.rule.as_deref(), event.host.as_deref()),
        (Some("api"), Some("api.test"))
    );
    assert!(event.bytes_in > 100 && event.bytes_out > 100);
    // The spoofed name, the right address: refused with an alert that says why.
    let error = world.tls(CLIENT, server.at, "evil.test", &[]).await.unwrap_err();
    assert!(error.to_string().contains("AccessDenied"), "{error}");
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn an_allowed_name_at_an_address_that_was_not_answered_is_refused() {
    let world = World::start().await;
    let server = tls_server(&world, &["api.test"]).await;
    let evil = servers::http(Some(world.public.server(&["api.test"], &[]))).await;
    let rules =
        json!([{ "id": "api", "host": "api.test", "action": "allow", "ports": [server.at.port(), evil.at.port()] }]);
    world.policy(CLIENT, rules.clone()).await;
    world.policy(OTHER, rules).await;
    assert!(
        world.tls(CLIENT, server.at, "api.test", &[]).await.is_err(),
        "before it was resolved"
    );
    world.lookup(CLIENT, "api.test").await;
    assert!(world.tls(CLIENT, server.at, "api.test", &[]).await.is_ok());
    assert!(
        world.tls(CLIENT, evil.at, "api.test", &[]).await.is_err(),
        "an unrelated address"
    );
    assert!(
        world.tls(OTHER, server.at, "api.test", &[]).await.is_err(),
        "another sandbox's pin"
    );
    assert_eq!(evil.connections.load(std::sync::atomic::Ordering::SeqCst), 0);
    assert_eq!(
        world.event(|event| event.reason == "not_pinned").await.rule.as_deref(),
        Some("api")
    );
}

#[tokio::test]
async fn tls_without_a_name_needs_a_rule_for_the_address() {
    let world = World::start().await;
    let server = tls_server(&world, &["api.test"]).await;
    let rule = json!({ "id": "api", "host": "api.test", "ports": [server.at.port()], "action": "allow" });
    world.policy(CLIENT, json!([rule])).await;
    world.lookup(CLIENT, "api.test").await;
    let literal = server.at.ip().to_string();
    let denied = world.tls(CLIENT, server.at, &literal, &[]).await.unwrap_err();
    assert!(denied.to_string().contains("AccessDenied"), "{denied}");
    let range =
        json!({ "id": "range", "cidr": format!("{literal}/32"), "ports": [server.at.port()], "action": "allow" });
    world.policy(CLIENT, json!([rule, range])).await;
    let error = world.tls(CLIENT, server.at, &literal, &[]).await.unwrap_err();
    assert!(
        error.to_string().contains("certificate"),
        "it reached the server, which is not that address: {error}"
    );
}

#[tokio::test]
async fn a_hello_in_small_pieces_is_read_and_a_broken_one_is_not_passed() {
    let world = World::start().await;
    let server = tls_server(&world, &["api.test"]).await;
    let rules = json!([{ "id": "api", "host": "api.test", "ports": [server.at.port()], "action": "allow" }]);
    world.policy(CLIENT, rules).await;
    world.lookup(CLIENT, "api.test").await;
    let name = rustls::pki_types::ServerName::try_from("api.test").unwrap();
    let config = support::client_config(world.public.roots());
    let mut client = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    let mut stream = world.connect(CLIENT, server.at).await;
    for part in hello.chunks(40) {
        stream.write_all(part).await.unwrap();
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(stream.read_u8().await.unwrap(), 22, "the server's handshake");
    let mut stream = world.connect(CLIENT, server.at).await;
    hello[60] ^= 0xff;
    hello[43] = 0xff;
    assert_eq!(exchange(&mut stream, &String::from_utf8_lossy(&hello)).await, "");
}

#[tokio::test]
async fn server_first_protocols_pass_by_tcp_rule_and_only_there() {
    let world = World::start().await;
    let ssh = servers::echo("SSH-2.0-test\r\n").await;
    world.name("git.test", &[*ssh.ip()]);
    let rules =
        json!([{ "id": "git", "host": "git.test", "protocol": "tcp", "ports": [ssh.port()], "action": "allow" }]);
    world.policy(CLIENT, rules).await;
    let mut early = world.connect(CLIENT, ssh).await;
    assert_eq!(exchange(&mut early, "x").await, "", "not resolved yet");
    world.lookup(CLIENT, "git.test").await;
    let mut stream = world.connect(CLIENT, ssh).await;
    let mut greeting = [0; 14];
    stream.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"SSH-2.0-test\r\n");
    stream.write_all(b"ping").await.unwrap();
    let mut pong = [0; 4];
    stream.read_exact(&mut pong).await.unwrap();
    assert_eq!(&pong, b"ping");
    let other = SocketAddrV4::new(*ssh.ip(), ssh.port() ^ 1);
    let mut wrong_port = world.connect(CLIENT, other).await;
    assert_eq!(exchange(&mut wrong_port, "x").await, "");
}

#[tokio::test]
async fn under_default_allow_the_floor_and_deny_rules_still_hold() {
    let world = World::start().await;
    let open = servers::echo("hello").await;
    let closed = servers::echo("hello").await;
    world.name("closed.test", &[*closed.ip()]);
    let rules = json!([
        { "id": "range", "cidr": format!("{}/32", closed.ip()), "action": "deny" },
    ]);
    world.policy_or(CLIENT, "allow", rules).await;
    let mut stream = world.connect(CLIENT, open).await;
    let mut greeting = [0; 5];
    stream.read_exact(&mut greeting).await.unwrap();
    let mut denied = world.connect(CLIENT, closed).await;
    assert_eq!(exchange(&mut denied, "x").await, "");
    let loopback = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let std::net::SocketAddr::V4(at) = loopback.local_addr().unwrap() else {
        unreachable!()
    };
    let mut floored = world.connect(CLIENT, at).await;
    assert_eq!(exchange(&mut floored, "x").await, "");
    let metadata = SocketAddrV4::new([169, 254, 169, 254].into(), 80);
    let mut metadata = world.connect(CLIENT, metadata).await;
    let text = exchange(
        &mut metadata,
        "GET / HTTP/1.1\r\nhost: 169.254.169.254\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(
        text.starts_with("HTTP/1.1 403") && text.contains("\"reason\":\"floor\""),
        "{text}"
    );
    // An allow rule of a tenant does not open the floor either.
    let rules = json!([{ "id": "mine", "cidr": "127.0.0.0/8", "action": "allow" }]);
    world.policy(CLIENT, rules).await;
    let mut still = world.connect(CLIENT, at).await;
    assert_eq!(exchange(&mut still, "x").await, "");
    assert!(
        tokio::time::timeout(std::time::Duration::from_millis(50), loopback.accept())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_changed_policy_cuts_what_it_no_longer_allows_before_it_answers() {
    let world = World::start().await;
    let (kept, cut) = (servers::echo("hi").await, servers::echo("hi").await);
    let rule = |id: &str, at: SocketAddrV4| json!({ "id": id, "cidr": format!("{}/32", at.ip()), "action": "allow" });
    world
        .policy(CLIENT, json!([rule("kept", kept), rule("cut", cut)]))
        .await;
    let mut streams = (world.connect(CLIENT, kept).await, world.connect(CLIENT, cut).await);
    let mut greeting = [0; 2];
    streams.0.read_exact(&mut greeting).await.unwrap();
    streams.1.read_exact(&mut greeting).await.unwrap();
    let answer = world.policy(CLIENT, json!([rule("kept", kept)])).await;
    assert_eq!(answer["cut"], 1);
    assert!(is_cut(&mut streams.1).await);
    streams.0.write_all(b"ok").await.unwrap();
    streams.0.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"ok");
    let floor =
        json!({ "do": "floor", "floor": { "allow": [{ "cidr": "127.64.0.0/10" }], "deny": [kept.ip().to_string()] } });
    assert_eq!(world.ask(floor).await["cut"], 1, "the floor cuts as well");
    assert!(is_cut(&mut streams.0).await);
}

#[tokio::test]
async fn who_has_no_policy_or_too_many_connections_is_reset() {
    let world = World::start().await;
    let echo = servers::echo("hi").await;
    let mut stranger = world.connect(OTHER, echo).await;
    assert!(is_cut(&mut stranger).await);
    world
        .policy(
            CLIENT,
            json!([{ "id": "a", "cidr": format!("{}/32", echo.ip()), "action": "allow" }]),
        )
        .await;
    let mut held = Vec::new();
    for _ in 0..atoll_egress::limits::SANDBOX_CONNECTIONS {
        let mut stream = world.connect(CLIENT, echo).await;
        stream.read_exact(&mut [0; 2]).await.unwrap();
        held.push(stream);
    }
    let mut surplus = world.connect(CLIENT, echo).await;
    assert!(is_cut(&mut surplus).await);
    held.pop();
    world.event(|event| event.reason == "limit").await;
    let answer = world.ask(json!({ "do": "remove", "address": CLIENT })).await;
    assert_eq!(answer["removed"], true);
    assert!(is_cut(&mut held[0]).await);
}

#[tokio::test]
async fn a_large_transfer_arrives_whole_in_both_directions() {
    let world = World::start().await;
    let echo = servers::echo("").await;
    world
        .policy(
            CLIENT,
            json!([{ "id": "a", "cidr": format!("{}/32", echo.ip()), "action": "allow" }]),
        )
        .await;
    let stream = world.connect(CLIENT, echo).await;
    let (mut read, mut write) = stream.into_split();
    let sent: Vec<u8> = (0..8_000_000_u32).map(|index| (index ^ index >> 8) as u8).collect();
    let expected = sent.clone();
    let sending = tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    read.read_to_end(&mut received).await.unwrap();
    sending.await.unwrap();
    assert!(received == expected, "{} bytes", received.len());
    let event = world.event(|event| event.action == "allow").await;
    assert_eq!((event.bytes_in, event.bytes_out), (8_000_000, 8_000_000));
}
