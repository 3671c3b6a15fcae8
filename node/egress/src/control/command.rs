//! The requests of the control socket.
use crate::floor::FloorDocument;
use crate::policy::document::PolicyDocument;
use crate::secrets::document::SecretDocument;
use crate::secrets::encode::Wiped;
use serde::Deserialize;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

#[derive(Deserialize)]
#[serde(
    tag = "do",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Command {
    Policy {
        address: Ipv4Addr,
        policy: PolicyDocument,
    },
    Remove {
        address: Ipv4Addr,
    },
    Floor {
        floor: FloorDocument,
    },
    Secrets {
        address: Ipv4Addr,
        secrets: Vec<SecretDocument>,
    },
    Explain {
        address: Ipv4Addr,
        url: String,
        #[serde(default)]
        method: Option<String>,
    },
    Events {
        #[serde(default)]
        after: u64,
        #[serde(default)]
        address: Option<Ipv4Addr>,
        #[serde(default)]
        follow: bool,
    },
    Stats,
    /// None turns interception off.
    Ca {
        #[serde(default)]
        certificate: Option<String>,
        #[serde(default)]
        key: Option<Wiped>,
        #[serde(default)]
        certificate_path: Option<PathBuf>,
        #[serde(default)]
        key_path: Option<PathBuf>,
    },
    Resolvers {
        servers: Vec<SocketAddr>,
    },
    /// With one descriptor.
    Listen {
        kind: ListenKind,
    },
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum ListenKind {
    Tcp,
    DnsUdp,
    DnsTcp,
}
