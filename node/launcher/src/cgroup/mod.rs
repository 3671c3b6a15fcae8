//! The sandbox's cgroups, whichever version the host has.

mod find;
mod freeze;
mod members;
mod v1;
mod v2;

pub use find::{Host, find};
pub use members::{below, members, release};

use crate::fault::{Fault, Outcome};
use crate::launch::{Delegate, Limits};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What the kernel counted.
#[derive(Debug, Default, Clone, Copy)]
pub struct Usage {
    pub memory_bytes: u64,
    pub memory_peak_bytes: u64,
    pub memory_limit_bytes: u64,
    pub cpu_ms: u64,
    pub pids: u64,
    pub oom_kills: u64,
    pub pids_limit_hits: u64,
}

/// Limits to set; the others stay.
#[derive(Debug, Default, Clone, Copy)]
pub struct Change {
    pub memory_bytes: Option<u64>,
    pub cpu_millis: Option<u64>,
    pub cpu_weight: Option<u64>,
    pub pids: Option<u64>,
}

impl Change {
    pub const fn all(limits: &Limits) -> Self {
        Self {
            memory_bytes: Some(limits.memory_bytes),
            cpu_millis: Some(limits.cpu_millis),
            cpu_weight: Some(limits.cpu_weight),
            pids: Some(limits.pids),
        }
    }
}

/// The directories of one sandbox. Found again from the record after a takeover.
#[derive(Debug, Clone)]
pub enum Cgroups {
    V1(v1::Directories),
    V2(v2::Directory),
}

impl Cgroups {
    /// Where they will be, before they are.
    pub fn plan(host: &Host, parent: &str, id: &str, delegated: bool) -> Self {
        match host {
            Host::V1 {
                controllers,
                unified,
            } => Self::V1(v1::Directories::plan(
                controllers,
                unified.as_deref(),
                parent,
                id,
                delegated,
            )),
            Host::V2(root) => Self::V2(v2::Directory::plan(root, parent, id, delegated)),
        }
    }

    /// Every directory, deepest first: the order of removal.
    pub fn paths(&self) -> Vec<PathBuf> {
        match self {
            Self::V1(directories) => directories.paths(),
            Self::V2(directory) => directory.paths(),
        }
    }

    /// Makes the directories and sets the limits. With `whole_on_oom` the kernel kills all or nothing where it can;
    /// version 1 cannot, there the shim does it.
    pub fn create(
        &self,
        limits: &Limits,
        delegate: Option<&Delegate>,
        whole_on_oom: bool,
    ) -> Outcome<()> {
        match self {
            Self::V1(directories) => directories.create(limits)?,
            Self::V2(directory) => directory.create(limits, whole_on_oom)?,
        }
        match (delegate, self.delegated()) {
            (Some(owner), Some(path)) => delegate_to(path, owner),
            _ => Ok(()),
        }
    }

    /// The cgroup2 mount beside version 1.
    pub fn beside(&self) -> Option<&Path> {
        match self {
            Self::V1(directories) => directories.unified.as_deref(),
            Self::V2(_) => None,
        }
    }

    /// The directory with the memory controller's files.
    pub fn memory(&self) -> PathBuf {
        match self {
            Self::V1(directories) => directories.of("memory"),
            Self::V2(directory) => directory.path.clone(),
        }
    }

    /// The directory with the pids controller's files.
    pub fn pids(&self) -> PathBuf {
        match self {
            Self::V1(directories) => directories.of("pids"),
            Self::V2(directory) => directory.path.clone(),
        }
    }

    /// The agent's own directory, where one was planned.
    pub fn delegated(&self) -> Option<&Path> {
        match self {
            Self::V1(directories) => directories.delegated.as_deref(),
            Self::V2(directory) => directory.delegated.as_deref(),
        }
    }

    /// Puts the calling process in. Its children follow.
    pub fn join(&self) -> io::Result<()> {
        let procs: Vec<PathBuf> = match self {
            Self::V1(directories) => directories.joined(),
            Self::V2(directory) => vec![
                directory
                    .delegated
                    .as_ref()
                    .unwrap_or(&directory.path)
                    .clone(),
            ],
        };
        procs
            .iter()
            .try_for_each(|path| fs::write(path.join("cgroup.procs"), "0"))
    }

    pub fn set_limits(&self, change: &Change) -> Outcome<()> {
        match self {
            Self::V1(directories) => directories.set_limits(change),
            Self::V2(directory) => directory.set_limits(change),
        }
    }

    /// The limits in force, read back.
    pub fn limits(&self) -> Outcome<Limits> {
        match self {
            Self::V1(directories) => directories.limits(),
            Self::V2(directory) => directory.limits(),
        }
    }

    pub fn usage(&self) -> Outcome<Usage> {
        match self {
            Self::V1(directories) => directories.usage(),
            Self::V2(directory) => directory.usage(),
        }
    }

    pub fn oom_kills(&self) -> u64 {
        match self {
            Self::V1(directories) => directories.oom_kills(),
            Self::V2(directory) => directory.oom_kills(),
        }
    }

    /// A descriptor that becomes readable when memory ran out.
    pub fn watch_oom(&self) -> io::Result<OwnedFd> {
        match self {
            Self::V1(directories) => directories.watch_oom(),
            Self::V2(directory) => directory.watch_oom(),
        }
    }

    /// Threads of the sandbox, for their affinity.
    pub fn threads(&self) -> Vec<i32> {
        let files: Vec<PathBuf> = match self {
            Self::V1(directories) => vec![directories.of("pids").join("tasks")],
            Self::V2(directory) => directory
                .paths()
                .iter()
                .map(|path| path.join("cgroup.threads"))
                .collect(),
        };
        files.iter().flat_map(|file| numbers(file)).collect()
    }
}

fn numbers(file: &Path) -> Vec<i32> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.parse().ok())
        .filter(|&pid| pid > 0)
        .collect()
}

/// The agent's own id gets the directory: the sandbox's root user, who has no right over other ids' files,
/// cannot move processes out of their groups.
fn delegate_to(path: &Path, delegate: &Delegate) -> Outcome<()> {
    let own = |path: &Path| {
        std::os::unix::fs::chown(path, Some(delegate.owner_uid), Some(delegate.owner_uid))
    };
    let all = [
        path.to_owned(),
        path.join("cgroup.procs"),
        path.join("cgroup.subtree_control"),
        path.join("cgroup.threads"),
    ];
    for target in all.iter().filter(|target| target.exists()) {
        own(target).map_err(|error| {
            Fault::os("cgroup", format!("delegate {}", target.display()), &error)
        })?;
    }
    Ok(())
}

/// Value of `name` in a file of "name value" lines.
fn keyed(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

fn read_number(file: &Path) -> Outcome<u64> {
    let text = fs::read_to_string(file)
        .map_err(|error| Fault::os("cgroup", format!("read {}", file.display()), &error))?;
    Ok(text.trim().parse().unwrap_or(u64::MAX))
}

fn write_value(file: &Path, value: &str) -> Outcome<()> {
    fs::write(file, value).map_err(|error| {
        Fault::os(
            "cgroup",
            format!("write {value} to {}", file.display()),
            &error,
        )
    })
}

fn make_directory(path: &Path) -> Outcome<()> {
    fs::create_dir_all(path)
        .map_err(|error| Fault::os("cgroup", format!("make {}", path.display()), &error))
}
