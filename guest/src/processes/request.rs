//! The body of `PUT /v1/processes/{id}`, checked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ring::{RING_MAX_BYTES, RING_MIN_BYTES};
use crate::http::error::{Answer, Refusal};

const ARGUMENTS_MAX: usize = 4_096;
const ARGUMENTS_MAX_BYTES: usize = 1 << 20;
const ENV_MAX: usize = 4_096;
const ID_MAX_BYTES: usize = 64;
const TERMINAL_MAX_CELLS: u16 = 10_000;

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartRequest {
    pub argv: Vec<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    pub cwd: Option<String>,
    pub user: Option<String>,
    #[serde(default)]
    pub stdin: StdinKind,
    pub terminal: Option<Size>,
    pub timeout_ms: Option<u64>,
    pub output_limit_bytes: Option<usize>,
    #[serde(default)]
    pub survivors: Survivors,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum StdinKind {
    #[default]
    None,
    Pipe,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Survivors {
    #[default]
    Kill,
    Keep,
}

/// A terminal's size in cells.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Size {
    pub columns: u16,
    pub rows: u16,
}

impl Size {
    pub fn check(self) -> Answer<()> {
        let range = 1..=TERMINAL_MAX_CELLS;
        if range.contains(&self.columns) && range.contains(&self.rows) {
            return Ok(());
        }
        let message = format!("columns and rows must be 1 to {TERMINAL_MAX_CELLS}");
        Err(Refusal::invalid(message))
    }
}

impl StartRequest {
    pub fn check(&self) -> Answer<()> {
        let bytes: usize = self.argv.iter().map(|argument| argument.len() + 1).sum();
        if self.argv.is_empty() || self.argv.len() > ARGUMENTS_MAX || bytes > ARGUMENTS_MAX_BYTES {
            let message = format!(
                "argv must have 1 to {ARGUMENTS_MAX} strings of together at most \
                 {ARGUMENTS_MAX_BYTES} bytes; pass more by stdin or a file"
            );
            return Err(Refusal::invalid(message));
        }
        if self.argv[0].is_empty() || self.argv.iter().any(|argument| argument.contains('\0')) {
            return Err(Refusal::invalid("argv[0] must not be empty, and no string may hold NUL"));
        }
        check_env(&self.env)?;
        if let Some(size) = self.terminal {
            size.check()?;
        }
        if self.timeout_ms == Some(0) {
            return Err(Refusal::invalid("timeoutMs must be at least 1; leave it out for none"));
        }
        let limit = self.output_limit_bytes.unwrap_or(RING_MIN_BYTES);
        if !(RING_MIN_BYTES..=RING_MAX_BYTES).contains(&limit) {
            let message = format!("outputLimitBytes must be {RING_MIN_BYTES} to {RING_MAX_BYTES}");
            return Err(Refusal::invalid(message));
        }
        Ok(())
    }
}

pub fn check_env(env: &BTreeMap<String, String>) -> Answer<()> {
    if env.len() > ENV_MAX {
        return Err(Refusal::invalid(format!("env has over {ENV_MAX} names; give fewer")));
    }
    for (name, value) in env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            let message = format!("env name {name:?} is empty or holds = or NUL, or its value NUL");
            return Err(Refusal::invalid(message));
        }
    }
    Ok(())
}

pub fn check_id(id: &str) -> Answer<()> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=ID_MAX_BYTES).contains(&id.len()) && id.bytes().all(known) {
        return Ok(());
    }
    Err(Refusal::invalid(format!("a process id must be 1 to {ID_MAX_BYTES} of A-Z a-z 0-9 _ -")))
}
