//! The end of a process: its deadline, its survivors, the rest of its output, and then the one
//! exit that is told.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::process::{Exit, Process, WaitResult, unix_ms};
use super::request::Survivors;
use crate::agent::Agent;
use crate::clock::RunningClock;
use crate::kernel::signals;
use crate::limits::{disk, process_limit};

/// An instant of the time that the sandbox runs.
pub struct Deadline(Option<Duration>);

impl Deadline {
    pub fn after(clock: &RunningClock, timeout_ms: Option<u64>) -> Self {
        let after = |ms| clock.now().checked_add(Duration::from_millis(ms));
        Self(timeout_ms.and_then(after))
    }

    async fn passed(&self, clock: &RunningClock) {
        match self.0 {
            Some(at) => clock.sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

/// Follows a process to its end and records it.
pub async fn oversee(
    agent: Rc<Agent>,
    process: Rc<Process>,
    deadline: Deadline,
    finish: watch::Sender<bool>,
    output_complete: Rc<Notify>,
) {
    let mut killed_by_deadline = 0;
    let wait = tokio::select! {
        biased;
        wait = process.waited() => wait,
        () = deadline.passed(&agent.clock) => {
            process.marks.timed_out.set(true);
            killed_by_deadline = process.tree.kill().await;
            process.waited().await
        }
    };
    let duration = agent.clock.now().saturating_sub(process.started);
    // The usual process leaves nobody, and then costs one look at its group.
    let survivors = process.tree.pids().len();
    if survivors > 0 {
        process_limit::mark(&agent, Some(&process));
    }
    let (mut survivors_killed, mut survivors_kept) = (killed_by_deadline.saturating_sub(1), 0);
    match process.request.survivors {
        Survivors::Kill if survivors == 0 => {}
        Survivors::Kill => survivors_killed += process.tree.kill().await,
        Survivors::Keep => survivors_kept = survivors,
    }
    // Survivors were refused, too, up to their end.
    process_limit::mark_refused(&agent, &process);
    // Fails while a survivor is kept; the record's end then tries again.
    process.tree.remove();
    finish.send_replace(true);
    output_complete.notified().await;
    mark_memory_kill(&agent, &process, &wait);
    let exit = exit(&process, wait, duration, survivors_killed, survivors_kept);
    *process.exit.borrow_mut() = Some(exit);
    process.changed.notify_waiters();
    agent.processes.keep_ended(process.clone());
}

/// The host's kernel may be quicker than the watchdog. Its kill is this process's own when it died of
/// one, or when nobody else ran.
fn mark_memory_kill(agent: &Agent, process: &Process, wait: &WaitResult) {
    let (Some(before), Some(now)) = (process.memory_kills, agent.memory.kills()) else {
        return;
    };
    let died_of_it = libc::WIFSIGNALED(wait.status) && libc::WTERMSIG(wait.status) == libc::SIGKILL;
    let asked_for = process.marks.killed.get() || process.marks.timed_out.get();
    let alone = || agent.processes.running().iter().all(|other| other.pid == process.pid);
    if now > before && !asked_for && (died_of_it || alone()) {
        process.marks.oom.set(true);
        agent.tally.oom_kills.set(agent.tally.oom_kills.get() + now - before);
    }
}

fn exit(
    process: &Process,
    wait: WaitResult,
    duration: Duration,
    survivors_killed: usize,
    survivors_kept: usize,
) -> Exit {
    let status = wait.status;
    let marks = &process.marks;
    let mut limits = Vec::new();
    if marks.oom.get() {
        limits.push("memory");
    }
    if marks.limit_processes.get() {
        limits.push("processes");
    }
    if marks.limit_disk.get() || disk::is_full() {
        limits.push("disk");
    }
    Exit {
        code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
        signal: libc::WIFSIGNALED(status).then(|| signals::name(libc::WTERMSIG(status))),
        timed_out: marks.timed_out.get(),
        killed: marks.killed.get(),
        oom: marks.oom.get(),
        limits,
        survivors_killed,
        survivors_kept,
        duration_ms: duration.as_millis() as u64,
        cpu_ms: wait.cpu_ms,
        peak_memory_bytes: wait.peak_memory_bytes,
        ended_at_ms: unix_ms(),
    }
}
