//! exit.json: how the sandbox ended.

use super::Receipt;
use crate::cgroup::Usage;
use crate::fault::{AtStep, Outcome};
use crate::kernel::process::End;
use crate::kernel::timer;
use crate::record;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Killed,
    Exited,
    OutOfMemory,
    Deadline,
    Fault,
}

impl Cause {
    const fn word(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Exited => "exited",
            Self::OutOfMemory => "oom",
            Self::Deadline => "deadline",
            Self::Fault => "fault",
        }
    }
}

/// The record of an end. Its time is when it was learnt.
pub struct Exit {
    pub cause: Cause,
    pub end: Option<End>,
    pub oom_kills: u64,
    pub message: String,
}

pub fn path(directory: &Path) -> PathBuf {
    directory.join("exit.json")
}

impl Exit {
    pub fn json(&self, receipt: Option<&Receipt>, usage: Option<&Usage>) -> Value {
        let (code, signal) = match self.end {
            Some(End::Code(code)) => (json!(code), Value::Null),
            Some(End::Signal(signal)) => (Value::Null, json!(signal_name(signal))),
            None => (Value::Null, Value::Null),
        };
        json!({
            "cause": self.cause.word(),
            "code": code,
            "signal": signal,
            "oomKills": self.oom_kills,
            "atUnixMs": timer::unix_ms(),
            "message": self.message,
            "receipt": receipt.map(Receipt::json),
            "usage": usage.map(usage_json),
        })
    }
}

pub fn usage_json(usage: &Usage) -> Value {
    json!({
        "memoryBytes": usage.memory_bytes,
        "memoryPeakBytes": usage.memory_peak_bytes,
        "memoryLimitBytes": usage.memory_limit_bytes,
        "cpuMs": usage.cpu_ms,
        "pids": usage.pids,
        "oomKills": usage.oom_kills,
        "pidsLimitHits": usage.pids_limit_hits,
    })
}

/// Durable before it returns.
pub fn write(directory: &Path, exit: &Value) -> Outcome<()> {
    let path = path(directory);
    record::replace(&path, exit.to_string().as_bytes(), true)
        .at("exit", format!("write {}", path.display()))
}

pub fn signal_name(signal: i32) -> String {
    let known = match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGTERM => "SIGTERM",
        libc::SIGSYS => "SIGSYS",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        other => return format!("SIG{other}"),
    };
    known.to_owned()
}
