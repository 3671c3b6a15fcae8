//! From the document to what can be matched. Anything unclear refuses the whole document.
use super::document::{
    ActionName, Otherwise, PolicyDocument, Protocol, RespondDocument, RuleDocument, TransformDocument,
};
use super::path::PathPattern;
use crate::cidr::Cidr;
use crate::limits::{RESPOND_BODY_BYTES, RULE_LIST, RULE_TEXT_BYTES, RULES};
use crate::name::Pattern;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::collections::HashSet;
use std::sync::Arc;

pub struct Policy {
    pub version: u64,
    pub otherwise: Otherwise,
    pub rules: Vec<Rule>,
}

pub struct Rule {
    pub id: Arc<str>,
    pub target: Target,
    /// Empty: 80 and 443 for what a host rule allows, every port for what a rule denies and for an address range.
    pub ports: Vec<u16>,
    pub protocol: Option<Protocol>,
    pub matcher: Option<Matcher>,
    pub action: Action,
}

pub enum Target {
    Host(Pattern),
    Range(Cidr),
}

pub struct Matcher {
    pub methods: Vec<String>,
    pub paths: Vec<PathPattern>,
}

#[derive(Clone)]
pub enum Action {
    Allow,
    Deny,
    Transform(Arc<Transform>),
    Respond(Arc<Respond>),
}

#[derive(Debug)]
pub struct Transform {
    pub set: HeaderMap,
    pub remove: Vec<HeaderName>,
}

#[derive(Debug)]
pub struct Respond {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Policy {
    pub fn compile(document: &PolicyDocument) -> Result<Self, String> {
        if document.rules.len() > RULES {
            return Err(format!(
                "the policy has {} rules; the limit is {RULES}",
                document.rules.len()
            ));
        }
        let mut ids = HashSet::new();
        let mut rules = Vec::with_capacity(document.rules.len());
        for rule in &document.rules {
            let named = |problem: String| format!("rule {:?}: {problem}", rule.id);
            if rule.id.is_empty() || rule.id.len() > 128 || !rule.id.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(named("the id must be 1 to 128 visible ASCII characters".to_owned()));
            }
            if !ids.insert(rule.id.as_str()) {
                return Err(named("the id is used twice".to_owned()));
            }
            rules.push(compile_rule(rule).map_err(named)?);
        }
        Ok(Self {
            version: document.version,
            otherwise: document.default,
            rules,
        })
    }
}

fn compile_rule(rule: &RuleDocument) -> Result<Rule, String> {
    let target = match (&rule.host, &rule.cidr) {
        (Some(host), None) => {
            Target::Host(Pattern::parse(host).ok_or_else(|| {
                format!("{host:?} is no host; write a name, `*.` and a name, or use cidr for addresses")
            })?)
        }
        (None, Some(cidr)) => Target::Range(Cidr::parse(cidr).ok_or_else(|| format!("{cidr:?} is no address range"))?),
        _ => return Err("give exactly one of host and cidr".to_owned()),
    };
    if rule.ports.len() > RULE_LIST || rule.ports.contains(&0) {
        return Err(format!("ports takes up to {RULE_LIST} ports from 1 to 65535"));
    }
    let sees = matches!(rule.protocol, None | Some(Protocol::Http | Protocol::Tls));
    let is_host = matches!(target, Target::Host(_));
    let matcher = rule.matches.as_ref().map(compile_match).transpose()?.flatten();
    let changes = matches!(rule.action, ActionName::Transform | ActionName::Respond);
    if (matcher.is_some() || changes) && !(sees && is_host) {
        return Err("match, transform and respond take a host and the protocol http or tls, or none".to_owned());
    }
    if rule.protocol == Some(Protocol::Tcp) && is_host && rule.ports.is_empty() && rule.action == ActionName::Allow {
        return Err("protocol tcp takes ports, such as [22]".to_owned());
    }
    if rule.protocol == Some(Protocol::Dns) && (!is_host || !rule.ports.is_empty()) {
        return Err("protocol dns takes a host and no ports".to_owned());
    }
    Ok(Rule {
        id: rule.id.as_str().into(),
        target,
        ports: rule.ports.clone(),
        protocol: rule.protocol,
        matcher,
        action: compile_action(rule)?,
    })
}

fn compile_match(document: &super::document::MatchDocument) -> Result<Option<Matcher>, String> {
    if document.methods.len() > RULE_LIST || document.paths.len() > RULE_LIST {
        return Err(format!("match takes up to {RULE_LIST} methods and {RULE_LIST} paths"));
    }
    if document.methods.is_empty() && document.paths.is_empty() {
        return Ok(None);
    }
    for method in &document.methods {
        http::Method::from_bytes(method.as_bytes()).map_err(|_| format!("{method:?} is no method"))?;
    }
    let paths = document.paths.iter().map(|text| PathPattern::parse(text));
    Ok(Some(Matcher {
        methods: document
            .methods
            .iter()
            .map(|method| method.to_ascii_uppercase())
            .collect(),
        paths: paths.collect::<Result<_, _>>()?,
    }))
}

fn compile_action(rule: &RuleDocument) -> Result<Action, String> {
    match (rule.action, &rule.transform, &rule.respond) {
        (ActionName::Allow, None, None) => Ok(Action::Allow),
        (ActionName::Deny, None, None) => Ok(Action::Deny),
        (ActionName::Transform, Some(transform), None) => {
            Ok(Action::Transform(Arc::new(compile_transform(transform)?)))
        }
        (ActionName::Respond, None, Some(respond)) => Ok(Action::Respond(Arc::new(compile_respond(respond)?))),
        _ => Err("transform and respond belong to the action of that name, and to no other".to_owned()),
    }
}

fn compile_transform(document: &TransformDocument) -> Result<Transform, String> {
    let set = headers(&document.set_headers)?;
    let remove = document.remove_headers.iter().map(|name| field(name));
    let remove = remove.collect::<Result<Vec<_>, _>>()?;
    if remove.len() > RULE_LIST {
        return Err(format!("removeHeaders takes up to {RULE_LIST} names"));
    }
    Ok(Transform { set, remove })
}

fn compile_respond(document: &RespondDocument) -> Result<Respond, String> {
    let status = StatusCode::from_u16(document.status)
        .ok()
        .filter(|status| status.as_u16() >= 200);
    if document.body.len() > RESPOND_BODY_BYTES {
        return Err(format!("the body of respond is limited to {RESPOND_BODY_BYTES} bytes"));
    }
    Ok(Respond {
        status: status.ok_or_else(|| format!("{} is no final status", document.status))?,
        headers: headers(&document.headers)?,
        body: Bytes::from(document.body.clone()),
    })
}

fn headers(document: &std::collections::BTreeMap<String, String>) -> Result<HeaderMap, String> {
    if document.len() > RULE_LIST {
        return Err(format!("a rule sets up to {RULE_LIST} headers"));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in document {
        let value = HeaderValue::from_str(value)
            .ok()
            .filter(|value| value.len() <= RULE_TEXT_BYTES);
        headers.insert(
            field(name)?,
            value.ok_or_else(|| format!("the value of header {name:?} is not valid"))?,
        );
    }
    Ok(headers)
}

/// Framing and routing belong to the proxy.
fn field(name: &str) -> Result<HeaderName, String> {
    let parsed: HeaderName = name.parse().map_err(|_| format!("{name:?} is no header name"))?;
    let ours = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
        "te",
        "trailer",
    ];
    if ours.contains(&parsed.as_str()) {
        return Err(format!("header {name:?} cannot be set or removed by a rule"));
    }
    Ok(parsed)
}
