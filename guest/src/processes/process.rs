//! One process: its record, its log and what is known of its end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::follow::Follower;
use super::request::StartRequest;
use super::ring::Ring;
use super::stdin::Stdin;
use super::terminal::Terminal;
use super::tree::Tree;
use crate::clock::RunningClock;

pub struct Process {
    pub id: String,
    pub pid: i32,
    pub request: StartRequest,
    pub user: String,
    pub cwd: String,
    pub started_at_ms: u64,
    /// Processes that the host's kernel had killed for memory when it started.
    pub memory_kills: Option<u64>,
    /// Forks that it had refused the sandbox by then, where it counts them.
    pub refusals: Option<u64>,
    /// By the clock of running.
    pub started: Duration,
    pub clock: Rc<RunningClock>,
    pub tree: Tree,
    pub stdin: Stdin,
    pub terminal: Option<Rc<Terminal>>,
    pub log: RefCell<Ring>,
    pub followers: RefCell<Vec<Rc<Follower>>>,
    /// New output, an eviction or the end.
    pub changed: Notify,
    /// A follower moved on or left.
    pub room: Notify,
    pub marks: Marks,
    /// What wait told, before the output was read to its end.
    pub wait: Cell<Option<WaitResult>>,
    pub waited: Notify,
    pub exit: RefCell<Option<Exit>>,
}

/// What happened to a process before its end.
#[derive(Default)]
pub struct Marks {
    pub timed_out: Cell<bool>,
    pub killed: Cell<bool>,
    pub oom: Cell<bool>,
    pub limit_processes: Cell<bool>,
    pub limit_disk: Cell<bool>,
}

#[derive(Clone, Copy, Debug)]
pub struct WaitResult {
    pub status: i32,
    pub cpu_ms: u64,
    pub peak_memory_bytes: u64,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    pub code: Option<i32>,
    pub signal: Option<String>,
    pub timed_out: bool,
    pub killed: bool,
    pub oom: bool,
    pub limits: Vec<&'static str>,
    pub survivors_killed: usize,
    pub survivors_kept: usize,
    pub duration_ms: u64,
    pub cpu_ms: u64,
    pub peak_memory_bytes: u64,
    pub ended_at_ms: u64,
}

impl Process {
    pub fn has_ended(&self) -> bool {
        self.exit.borrow().is_some()
    }

    pub fn to_json(&self) -> Value {
        let exit = self.exit.borrow();
        let log = self.log.borrow();
        json!({
            "id": self.id,
            "pid": self.pid,
            "argv": self.request.argv,
            "user": self.user,
            "cwd": self.cwd,
            "terminal": self.terminal.is_some(),
            "state": if exit.is_some() { "exited" } else { "running" },
            "startedAtMs": self.started_at_ms,
            "log": { "start": log.start(), "end": log.end() },
            "exit": *exit,
        })
    }

    /// Resolves once the exit is known and the output complete.
    pub async fn ended(&self) -> Exit {
        loop {
            let changed = self.changed.notified();
            if let Some(exit) = self.exit.borrow().as_ref() {
                return exit.clone();
            }
            changed.await;
        }
    }

    /// Resolves once the kernel has reported the end of the started process itself.
    pub async fn waited(&self) -> WaitResult {
        loop {
            let waited = self.waited.notified();
            if let Some(result) = self.wait.get() {
                return result;
            }
            waited.await;
        }
    }
}

pub fn unix_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |passed| passed.as_millis() as u64)
}
