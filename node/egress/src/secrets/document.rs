//! The secrets of one sandbox, as the node sends them and as they are kept.
use super::encode::{self, Wiped};
use super::rewriter::Pair;
use crate::limits::{PLACEHOLDER_BYTES, RULE_LIST, SECRET_BYTES, SECRETS};
use crate::name::Pattern;
use crate::policy::path::{PathPattern, RequestPath};
use http::HeaderName;
use serde::Deserialize;
use std::collections::HashSet;
use std::sync::Arc;
use zeroize::Zeroizing;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretDocument {
    pub name: String,
    pub placeholder: String,
    pub value: Wiped,
    pub bindings: Vec<BindingDocument>,
}

/// Where a value may go. What is left out is not limited, but for the host and the locations.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BindingDocument {
    pub host: String,
    #[serde(default)]
    pub ports: Vec<u16>,
    #[serde(default)]
    pub methods: Vec<String>,
    #[serde(default)]
    pub paths: Vec<String>,
    pub locations: Vec<Location>,
    /// Limits the location header to these names.
    #[serde(default)]
    pub headers: Vec<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Location {
    Header,
    Basic,
    Query,
    Json,
    Form,
}

#[derive(Default)]
pub struct Secrets {
    pub(super) list: Vec<Secret>,
    /// What responses must not hold, and what stands there instead, of the same length.
    pub(super) masks: Arc<Vec<Pair>>,
}

pub(super) struct Secret {
    pub name: String,
    pub placeholder: String,
    pub value: Zeroizing<String>,
    pub bindings: Vec<Binding>,
}

pub(super) struct Binding {
    host: Pattern,
    ports: Vec<u16>,
    methods: Vec<String>,
    paths: Vec<PathPattern>,
    pub locations: Vec<Location>,
    pub headers: Vec<HeaderName>,
}

impl Secrets {
    pub fn compile(documents: Vec<SecretDocument>) -> Result<Self, String> {
        if documents.len() > SECRETS {
            return Err(format!("a sandbox has up to {SECRETS} secrets"));
        }
        let list = documents.into_iter().map(compile).collect::<Result<Vec<_>, _>>()?;
        let mut names = HashSet::new();
        for secret in &list {
            let again = !names.insert(&secret.name);
            let inside = list
                .iter()
                .any(|other| other.name != secret.name && other.placeholder.contains(&secret.placeholder));
            if again || inside {
                return Err(format!(
                    "secret {:?}: its name or placeholder is not its own",
                    secret.name
                ));
            }
        }
        let masks = list.iter().flat_map(|secret| encode::masks(&secret.value)).collect();
        Ok(Self {
            list,
            masks: Arc::new(masks),
        })
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn names(&self) -> Vec<String> {
        self.list.iter().map(|secret| secret.name.clone()).collect()
    }

    /// Whether TLS to this host has to be terminated for a secret.
    pub fn binds(&self, host: &str, port: u16) -> bool {
        self.list
            .iter()
            .flat_map(|secret| &secret.bindings)
            .any(|binding| binding.is_for(host, port))
    }

    /// Names of the secrets that a request to this host may carry somewhere.
    pub fn usable(&self, host: &str, port: u16, method: &str, path: &RequestPath) -> Vec<String> {
        let usable = |secret: &&Secret| {
            secret
                .bindings
                .iter()
                .any(|binding| binding.admits(host, port, method, path))
        };
        self.list
            .iter()
            .filter(usable)
            .map(|secret| secret.name.clone())
            .collect()
    }
}

impl Binding {
    fn is_for(&self, host: &str, port: u16) -> bool {
        let on_port = if self.ports.is_empty() {
            port == 443
        } else {
            self.ports.contains(&port)
        };
        on_port && self.host.matches(host)
    }

    pub fn admits(&self, host: &str, port: u16, method: &str, path: &RequestPath) -> bool {
        self.is_for(host, port)
            && (self.methods.is_empty() || self.methods.iter().any(|known| known == method))
            && (self.paths.is_empty() || path.matches(&self.paths, false))
    }
}

fn compile(document: SecretDocument) -> Result<Secret, String> {
    let named = |problem: String| format!("secret {:?}: {problem}", document.name);
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if document.name.is_empty() || document.name.len() > 128 || !document.name.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(named("the name must be 1 to 128 visible ASCII characters".to_owned()));
    }
    let (least, most) = PLACEHOLDER_BYTES;
    if !(least..=most).contains(&document.placeholder.len()) || !plain(&document.placeholder) {
        return Err(named(format!(
            "the placeholder must be {least} to {most} letters, digits and _"
        )));
    }
    let (least, most) = SECRET_BYTES;
    if !(least..=most).contains(&document.value.0.len()) {
        return Err(named(format!("the value must be {least} to {most} bytes")));
    }
    // In a header either would begin a field of its own.
    if document.value.0.contains(['\r', '\n', '\0']) {
        return Err(named("the value holds a line break or NUL".to_owned()));
    }
    if document.value.0.contains(&document.placeholder) {
        return Err(named("the value holds its own placeholder".to_owned()));
    }
    let bindings = document
        .bindings
        .iter()
        .map(bind)
        .collect::<Result<Vec<_>, _>>()
        .map_err(named)?;
    Ok(Secret {
        name: document.name,
        placeholder: document.placeholder,
        value: document.value.0,
        bindings,
    })
}

fn bind(document: &BindingDocument) -> Result<Binding, String> {
    let lists = [
        document.ports.len(),
        document.methods.len(),
        document.paths.len(),
        document.headers.len(),
    ];
    if lists.iter().any(|length| *length > RULE_LIST) || document.locations.is_empty() {
        return Err(format!(
            "a binding has at least one location and up to {RULE_LIST} entries in a list"
        ));
    }
    let host = Pattern::parse(&document.host).filter(|host| *host != Pattern::Any);
    let headers = document
        .headers
        .iter()
        .map(|name| name.parse().map_err(|_| format!("{name:?} is no header name")));
    Ok(Binding {
        host: host.ok_or_else(|| format!("{:?} is no host to bind to", document.host))?,
        ports: document.ports.clone(),
        methods: document
            .methods
            .iter()
            .map(|method| method.to_ascii_uppercase())
            .collect(),
        paths: document
            .paths
            .iter()
            .map(|path| PathPattern::parse(path))
            .collect::<Result<_, _>>()?,
        locations: document.locations.clone(),
        headers: headers.collect::<Result<_, _>>()?,
    })
}
