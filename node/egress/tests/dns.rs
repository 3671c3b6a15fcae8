//! Names: what is answered, what is pinned, what is refused.
mod support;

use serde_json::json;
use std::net::Ipv4Addr;
use std::time::Instant;
use support::{CLIENT, OTHER, World, question};

const REFUSED: u8 = 5;
const PUBLIC: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);

#[tokio::test]
async fn only_names_that_a_rule_allows_are_answered_and_pinned_for_that_sandbox() {
    let world = World::start().await;
    for name in ["api.test", "other.test", "deep.sub.test", "sub.test"] {
        world.name(name, &[PUBLIC]);
    }
    let rules = json!([
        { "id": "no", "host": "bad.sub.test", "action": "deny" },
        { "id": "api", "host": "api.test", "action": "allow" },
        { "id": "sub", "host": "*.sub.test", "action": "allow" },
    ]);
    world.policy(CLIENT, rules).await;
    assert_eq!(world.lookup(CLIENT, "API.test").await, (0, vec![PUBLIC]));
    assert_eq!(world.lookup(CLIENT, "deep.sub.test").await, (0, vec![PUBLIC]));
    for refused in ["other.test", "sub.test", "bad.sub.test", "api.test.evil.test"] {
        assert_eq!(world.lookup(CLIENT, refused).await, (REFUSED, vec![]), "{refused}");
    }
    assert_eq!(
        world.lookup(OTHER, "api.test").await,
        (REFUSED, vec![]),
        "without a policy"
    );
    let event = world
        .event(|event| event.kind == "dns" && event.host.as_deref() == Some("bad.sub.test"))
        .await;
    assert_eq!(
        (event.action, event.rule.as_deref(), event.reason),
        ("deny", Some("no"), "rule")
    );
    assert_eq!(world.proxy.sandbox(CLIENT).unwrap().pins().len(), 2);
}

#[tokio::test]
async fn private_and_metadata_answers_are_dropped_unless_the_operator_excepts_them() {
    let world = World::start().await;
    world.name(
        "rebind.test",
        &[Ipv4Addr::new(169, 254, 169, 254), Ipv4Addr::new(10, 0, 0, 1)],
    );
    world.name("zero.test", &[Ipv4Addr::UNSPECIFIED]);
    world.name("mixed.test", &[Ipv4Addr::LOCALHOST, PUBLIC]);
    world.name("mirror.test", &[Ipv4Addr::new(127, 64, 0, 1)]);
    world.name("metadata.google.internal", &[PUBLIC]);
    world.policy_or(CLIENT, "allow", json!([])).await;
    assert_eq!(world.lookup(CLIENT, "rebind.test").await, (REFUSED, vec![]));
    assert_eq!(world.lookup(CLIENT, "zero.test").await, (REFUSED, vec![]));
    assert_eq!(world.lookup(CLIENT, "mixed.test").await, (0, vec![PUBLIC]));
    assert_eq!(
        world.lookup(CLIENT, "mirror.test").await,
        (0, vec![Ipv4Addr::new(127, 64, 0, 1)])
    );
    assert_eq!(
        world.lookup(CLIENT, "metadata.google.internal").await,
        (REFUSED, vec![])
    );
    let event = world.event(|event| event.host.as_deref() == Some("rebind.test")).await;
    assert_eq!(event.reason, "floor");
}

#[tokio::test]
async fn other_types_are_empty_or_refused_and_nothing_but_a_is_asked_upstream() {
    let world = World::start().await;
    world.name("api.test", &[PUBLIC]);
    world
        .policy(CLIENT, json!([{ "id": "api", "host": "api.test", "action": "allow" }]))
        .await;
    for (kind, code) in [
        (28, 0),
        (65, 0),
        (64, 0),
        (16, REFUSED),
        (255, REFUSED),
        (12, REFUSED),
        (10, REFUSED),
    ] {
        let reply = world.query(CLIENT, &question("api.test", kind)).await.unwrap();
        assert_eq!((reply[3] & 15, reply[7]), (code, 0), "type {kind}");
    }
    assert_eq!(world.lookup(CLIENT, "api.test").await, (0, vec![PUBLIC]));
    assert_eq!(world.lookup(CLIENT, "gone.api.test").await.0, REFUSED);
}

#[tokio::test]
async fn a_tunnel_runs_out_of_names_length_and_queries() {
    let world = World::start().await;
    world
        .policy(CLIENT, json!([{ "id": "t", "host": "*.t.test", "action": "allow" }]))
        .await;
    let long = format!("{}.{}.t.test", "a".repeat(60), "b".repeat(60));
    assert_eq!(world.lookup(CLIENT, &long).await.0, REFUSED);
    assert_eq!(world.lookup(CLIENT, &format!("{}.t.test", "a".repeat(60))).await.0, 3);
    // What a busy tunnel has used up by now.
    let sandbox = world.proxy.sandbox(CLIENT).unwrap();
    for index in 0..atoll_egress::limits::DNS_NAMES_PER_WINDOW {
        sandbox.dns().admit_name(&format!("n{index}.t.test"), Instant::now());
    }
    assert_eq!(
        world.lookup(CLIENT, "n1.t.test").await.0,
        3,
        "a known name is still answered"
    );
    assert_eq!(world.lookup(CLIENT, "new.t.test").await.0, REFUSED, "a new one is not");
    while sandbox.dns().admit(Instant::now()) {}
    assert_eq!(
        world.lookup(CLIENT, "n1.t.test").await.0,
        REFUSED,
        "and no query after a burst"
    );
    let event = world.event(|event| event.reason == "limit").await;
    assert_eq!(event.action, "deny");
    world
        .policy(OTHER, json!([{ "id": "t", "host": "*.t.test", "action": "allow" }]))
        .await;
    assert_eq!(
        world.lookup(OTHER, "n1.t.test").await.0,
        3,
        "another sandbox has its own quota"
    );
}

#[tokio::test]
async fn dns_over_tcp_follows_the_same_rules() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::start().await;
    world.name("api.test", &[PUBLIC]);
    world
        .policy(CLIENT, json!([{ "id": "api", "host": "api.test", "action": "allow" }]))
        .await;
    for (name, code) in [("api.test", 0), ("other.test", REFUSED)] {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((CLIENT, 0).into()).unwrap();
        let mut stream = socket.connect(world.dns_tcp).await.unwrap();
        let packet = question(name, 1);
        stream.write_u16(packet.len() as u16).await.unwrap();
        stream.write_all(&packet).await.unwrap();
        let mut reply = vec![0; stream.read_u16().await.unwrap().into()];
        stream.read_exact(&mut reply).await.unwrap();
        assert_eq!(reply[3] & 15, code, "{name}");
    }
}
