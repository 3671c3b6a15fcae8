//! Who this sandbox is, and who its users are.

pub mod adopt;
pub mod users;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What `adopt` put in force.
pub struct Identity {
    pub sandbox_id: String,
    pub hostname: String,
    pub env: BTreeMap<String, String>,
    pub limits: Limits,
    pub default_user: String,
    pub workdir: Option<String>,
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
