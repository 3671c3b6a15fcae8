//! Who this sandbox is, and who its users are.

pub mod adopt;
pub mod hooks;
mod own_files;
pub mod users;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What `adopt` put in force.
pub struct Identity {
    pub sandbox_id: String,
    /// Counts the identities that the memory of this sandbox has had.
    pub generation: u64,
    pub reason: Reason,
    pub hostname: String,
    pub env: BTreeMap<String, String>,
    pub limits: Limits,
    pub default_user: String,
    pub workdir: Option<String>,
}

/// Writes the files of an identity once, with nobody's: those of a sandbox are then changed quickly.
pub fn prepare() {
    if let Err(refusal) = own_files::write("", "localhost", 0) {
        eprintln!("atoll-agent: {}", refusal.message);
    }
}

/// Why an identity was given.
#[derive(Clone, Copy, Default, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    #[default]
    Create,
    Fork,
    Resume,
    Resize,
}

impl Reason {
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Fork => "fork",
            Self::Resume => "resume",
            Self::Resize => "resize",
        }
    }
}

/// Absent means not limited by the agent.
#[derive(Clone, Copy, Default, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    pub memory_bytes: Option<u64>,
    pub processes: Option<u64>,
    pub disk_bytes: Option<u64>,
    pub open_files: Option<u64>,
    pub cpu_count: Option<f64>,
}
