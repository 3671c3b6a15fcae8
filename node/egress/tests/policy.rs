//! The decision itself, without a socket: order, ports, protocols, and what the sandbox may resolve.
use atoll_egress::policy::Policy;
use atoll_egress::policy::Reason;
use atoll_egress::policy::compile::Action;
use atoll_egress::policy::decide::{Destination, Plan, Route};
use atoll_egress::policy::document::Protocol;
use atoll_egress::policy::path::RequestPath;
use serde_json::{Value, json};
use std::net::Ipv4Addr;

const AT: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);

fn policy(otherwise: &str, rules: Value) -> Policy {
    let document = json!({ "version": 1, "default": otherwise, "rules": rules });
    Policy::compile(&serde_json::from_value(document).unwrap()).unwrap()
}

fn to(port: u16, pinned: &[String]) -> Destination<'_> {
    Destination {
        address: AT,
        port,
        pinned,
    }
}

fn rule_of(plan: &Plan) -> Option<&str> {
    match plan {
        Plan::Pass(verdict, _) | Plan::Deny(verdict) => verdict.rule.as_deref(),
        Plan::Terminate | Plan::Look => None,
    }
}

#[test]
fn the_first_match_wins() {
    let policy = policy(
        "deny",
        json!([
            { "id": "one", "host": "bad.example.com", "action": "deny" },
            { "id": "two", "host": "*.example.com", "action": "allow" },
            { "id": "three", "host": "good.example.com", "action": "deny" },
        ]),
    );
    let plan = |name: &str| policy.tls(name, to(443, &[]), false);
    assert!(matches!(&plan("bad.example.com"), plan @ Plan::Deny(_) if rule_of(plan) == Some("one")));
    assert!(matches!(&plan("good.example.com"), plan @ Plan::Pass(_, Route::Name) if rule_of(plan) == Some("two")));
    assert!(matches!(&plan("example.com"), Plan::Deny(verdict) if verdict.reason == Reason::Default));
}

#[test]
fn ports_left_out_are_the_usual_ones_to_allow_and_all_to_deny() {
    let allow = policy("deny", json!([{ "id": "a", "host": "a.test", "action": "allow" }]));
    assert!(matches!(allow.tls("a.test", to(443, &[]), false), Plan::Pass(..)));
    for port in [80, 8443, 22] {
        assert!(
            matches!(allow.tls("a.test", to(port, &[]), false), Plan::Deny(_)),
            "TLS to {port}"
        );
    }
    let root = RequestPath::parse("/");
    let request = |policy: &Policy, port| {
        policy
            .request(Protocol::Http, Some("a.test"), to(port, &[]), "GET", &root)
            .action
    };
    assert!(matches!(request(&allow, 80), Action::Allow));
    assert!(matches!(request(&allow, 443), Action::Deny) && matches!(request(&allow, 8080), Action::Deny));
    let deny = policy("allow", json!([{ "id": "d", "host": "a.test", "action": "deny" }]));
    assert!(matches!(request(&deny, 8080), Action::Deny));
    assert!(matches!(deny.tls("a.test", to(9999, &[]), false), Plan::Deny(_)));
    assert!(matches!(
        deny.tls("b.test", to(9999, &[]), false),
        Plan::Pass(_, Route::Address)
    ));
}

#[test]
fn a_protocol_limits_a_rule_to_itself() {
    let root = RequestPath::parse("/");
    for (protocol, http, tls) in [("http", true, false), ("tls", false, true)] {
        let policy = policy(
            "deny",
            json!([{ "id": "a", "host": "a.test", "protocol": protocol, "action": "allow" }]),
        );
        let action = policy
            .request(Protocol::Http, Some("a.test"), to(80, &[]), "GET", &root)
            .action;
        assert_eq!(matches!(action, Action::Allow), http, "{protocol}");
        assert_eq!(
            matches!(policy.tls("a.test", to(443, &[]), false), Plan::Pass(..)),
            tls,
            "{protocol}"
        );
        assert!(policy.resolve("a.test").0);
    }
    let names = policy(
        "deny",
        json!([{ "id": "n", "host": "a.test", "protocol": "dns", "action": "allow" }]),
    );
    assert!(names.resolve("a.test").0 && matches!(names.tls("a.test", to(443, &[]), false), Plan::Deny(_)));
}

#[test]
fn what_has_no_name_needs_a_pin_and_a_tcp_rule_or_a_range() {
    let pinned = ["db.test".to_owned()];
    let tcp = policy(
        "deny",
        json!([{ "id": "db", "host": "db.test", "protocol": "tcp", "ports": [5432], "action": "allow" }]),
    );
    assert!(matches!(
        tcp.raw(to(5432, &pinned), None),
        Plan::Pass(_, Route::Address)
    ));
    assert!(
        matches!(tcp.raw(to(5432, &[]), Some(Protocol::Tcp)), Plan::Deny(_)),
        "not pinned"
    );
    assert!(
        matches!(tcp.raw(to(5433, &pinned), Some(Protocol::Tcp)), Plan::Deny(_)),
        "another port"
    );
    let host = policy("deny", json!([{ "id": "db", "host": "db.test", "action": "allow" }]));
    assert_eq!(host.raw(to(443, &pinned), None), Plan::Look);
    for kind in [Protocol::Tcp, Protocol::Tls] {
        assert!(
            matches!(host.raw(to(443, &pinned), Some(kind)), Plan::Deny(_)),
            "a host rule names no bytes"
        );
    }
    let range = policy(
        "deny",
        json!([{ "id": "r", "cidr": "93.184.216.0/24", "protocol": "tls", "action": "allow" }]),
    );
    assert_eq!(range.raw(to(443, &[]), None), Plan::Look);
    assert!(matches!(range.raw(to(443, &[]), Some(Protocol::Tls)), Plan::Pass(..)));
    assert!(matches!(range.raw(to(443, &[]), Some(Protocol::Tcp)), Plan::Deny(_)));
    // Under default allow a denied host is not reached by leaving its name out.
    let open = policy("allow", json!([{ "id": "d", "host": "db.test", "action": "deny" }]));
    assert!(matches!(open.raw(to(443, &pinned), Some(Protocol::Tls)), Plan::Deny(_)));
    assert!(matches!(open.raw(to(443, &[]), Some(Protocol::Tls)), Plan::Pass(..)));
}

#[test]
fn only_what_needs_to_be_seen_is_terminated() {
    let policy = policy(
        "deny",
        json!([
            { "id": "m", "host": "m.test", "match": { "methods": ["GET"] }, "action": "allow" },
            { "id": "t", "host": "t.test", "action": "transform", "transform": { "setHeaders": { "a": "b" } } },
            { "id": "p", "host": "p.test", "action": "allow" },
            { "id": "d", "host": "d.test", "action": "deny" },
        ]),
    );
    let plan = |name: &str, secret| policy.tls(name, to(443, &[]), secret);
    assert_eq!(
        (plan("m.test", false), plan("t.test", false)),
        (Plan::Terminate, Plan::Terminate)
    );
    assert!(matches!(plan("p.test", false), Plan::Pass(..)));
    assert_eq!(plan("p.test", true), Plan::Terminate, "a secret is bound to it");
    assert!(matches!(plan("d.test", true), Plan::Deny(_)));
}

#[test]
fn a_name_is_resolved_when_some_rule_could_let_it_out() {
    let policy = policy(
        "deny",
        json!([
            { "id": "partly", "host": "a.test", "match": { "methods": ["DELETE"] }, "action": "deny" },
            { "id": "port", "host": "b.test", "ports": [25], "action": "deny" },
            { "id": "whole", "host": "c.test", "action": "deny" },
            { "id": "all", "host": "*.test", "action": "allow" },
        ]),
    );
    for (name, may) in [
        ("a.test", true),
        ("b.test", true),
        ("c.test", false),
        ("x.test", true),
        ("test", false),
        ("x.other", false),
    ] {
        assert_eq!(policy.resolve(name).0, may, "{name}");
    }
}
