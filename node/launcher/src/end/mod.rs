//! Ending a sandbox: needs nothing from the guest or the runtime, only the record.

pub mod exit;

use crate::cgroup;
use crate::fault::{Fault, Outcome};
use crate::kernel::poll;
use crate::kernel::process::{self, End};
use crate::kernel::timer::{monotonic_ms, sleep_ms};
use crate::record::{Identity, Record};
use crate::start;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// What was really removed.
#[derive(Debug, Default, Clone, Copy)]
pub struct Receipt {
    pub processes: usize,
    pub cgroups: usize,
    pub mounts: usize,
    pub files: usize,
    pub duration_ms: f64,
}

impl Receipt {
    pub fn json(&self) -> Value {
        json!({
            "processes": self.processes,
            "cgroups": self.cgroups,
            "mounts": self.mounts,
            "files": self.files,
            "durationMs": (self.duration_ms * 10.0).round() / 10.0,
        })
    }
}

/// Names of the launcher's own sockets in the sandbox's folder.
pub const SOCKETS: [&str; 2] = ["agent.sock", "shim.sock"];

/// Kills, waits, removes. `status` gets the runtime's end where this process is its parent.
/// What cannot be removed in time is an error that names it; calling again is always right.
pub fn everything(record: &Record, status: &mut Option<End>) -> Outcome<Receipt> {
    let since = std::time::Instant::now();
    let mut receipt = Receipt {
        processes: kill_all(record, status)?,
        ..Receipt::default()
    };
    receipt.files = remove_files(record)?;
    receipt.cgroups = remove_cgroups(record)?;
    receipt.mounts = wait_for_mounts(record)?;
    receipt.duration_ms = since.elapsed().as_secs_f64() * 1000.0;
    Ok(receipt)
}

fn kill_all(record: &Record, status: &mut Option<End>) -> Outcome<usize> {
    const LIMIT_MS: u64 = 10_000;
    let since = monotonic_ms();
    let runtime = record.runtime.filter(|identity| identity.is_alive());
    let pidfd = runtime.and_then(|identity| process::open_pidfd(identity.pid).ok());
    let mut killed = BTreeSet::new();
    loop {
        let mut alive = cgroup::members(record);
        alive.extend(
            record
                .runtime
                .filter(|identity| identity.is_alive())
                .map(|identity| identity.pid),
        );
        // The launcher's child that had not joined a cgroup yet dies with its parent.
        for &pid in &alive {
            if process::kill(pid, libc::SIGKILL).is_ok() {
                killed.insert(pid);
            }
        }
        cgroup::release(record);
        reap_children(record, status);
        if alive.is_empty() {
            return Ok(killed.len());
        }
        if monotonic_ms() - since > LIMIT_MS {
            let message = format!(
                "cannot end {}: processes {alive:?} did not die in {LIMIT_MS} ms",
                record.id
            );
            return Err(Fault::new("internal", "kill", message));
        }
        pause(pidfd.as_ref());
    }
}

/// Until the runtime is gone, or a moment.
fn pause(pidfd: Option<&OwnedFd>) {
    const MOMENT_MS: u64 = 2;
    match pidfd {
        Some(pidfd) if !poll::wait_readable(pidfd.as_raw_fd(), 0) => {
            poll::wait_readable(pidfd.as_raw_fd(), MOMENT_MS);
        }
        _ => std::thread::sleep(std::time::Duration::from_micros(300)),
    }
}

fn reap_children(record: &Record, status: &mut Option<End>) {
    while let Some((pid, end)) = process::reap(-1) {
        if record.runtime.is_some_and(|runtime| runtime.pid == pid) {
            *status = Some(end);
        }
    }
}

fn remove_files(record: &Record) -> Outcome<usize> {
    let sockets = SOCKETS.iter().map(|name| record.directory.join(name));
    let mut removed = 0;
    for path in record.state_files.iter().cloned().chain(sockets) {
        removed += usize::from(remove_one(&path)?);
    }
    Ok(removed)
}

/// True when something was there.
fn remove_one(path: &Path) -> Outcome<bool> {
    let done = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Fault::os(
            "remove",
            format!("remove {}", path.display()),
            &error,
        )),
    }
}

fn remove_cgroups(record: &Record) -> Outcome<usize> {
    const LIMIT_MS: u64 = 2_000;
    let since = monotonic_ms();
    let mut removed = 0;
    for recorded in &record.cgroups {
        for path in cgroup::below(recorded) {
            loop {
                match fs::remove_dir(&path) {
                    Ok(()) => removed += 1,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    // The last process is dead, the kernel still takes it apart.
                    Err(error)
                        if error.raw_os_error() == Some(libc::EBUSY)
                            && monotonic_ms() - since < LIMIT_MS =>
                    {
                        sleep_ms(1);
                        continue;
                    }
                    Err(error) => {
                        return Err(Fault::os(
                            "remove",
                            format!("remove {}", path.display()),
                            &error,
                        ));
                    }
                }
                break;
            }
        }
    }
    Ok(removed)
}

/// The mounts were in a namespace that is gone; their loop devices show when the kernel has let go.
fn wait_for_mounts(record: &Record) -> Outcome<usize> {
    const LIMIT_MS: u64 = 3_000;
    let since = monotonic_ms();
    if record.mounts.is_empty() {
        return Ok(0);
    }
    while start::loops_left(&record.directory) {
        if monotonic_ms() - since > LIMIT_MS {
            let message = format!(
                "loop devices of {} are still in use",
                record.directory.display()
            );
            return Err(Fault::new("internal", "mounts", message));
        }
        sleep_ms(1);
    }
    Ok(record.mounts.len())
}

/// Takes the record away: the very last thing.
pub fn forget(record: &Record) {
    let _ = fs::remove_file(Record::path(&record.directory));
}

/// Stops and kills launcher processes without giving one the time to heal the other.
pub fn kill_shims(identities: &[Option<Identity>]) -> usize {
    let living: Vec<Identity> = identities
        .iter()
        .flatten()
        .copied()
        .filter(|identity| identity.is_alive())
        .collect();
    for signal in [libc::SIGSTOP, libc::SIGKILL] {
        for identity in &living {
            let _ = process::kill(identity.pid, signal);
        }
    }
    for identity in &living {
        for _ in 0..2_000 {
            if !identity.is_alive() {
                break;
            }
            sleep_ms(1);
        }
    }
    living.len()
}
