//! Cgroup version 2: one directory with everything.

use super::{Change, Usage, keyed, make_directory, read_number, write_value};
use crate::fault::Outcome;
use crate::kernel::timer;
use crate::launch::Limits;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

const PERIOD_US: u64 = 100_000;

#[derive(Debug, Clone)]
pub struct Directory {
    root: PathBuf,
    pub path: PathBuf,
    /// Below `path`, without controllers of its own: for the agent's groups.
    pub delegated: Option<PathBuf>,
}

impl Directory {
    pub fn plan(root: &Path, parent: &str, id: &str, delegated: bool) -> Self {
        let path = root.join(parent).join(id);
        Self {
            root: root.to_owned(),
            delegated: delegated.then(|| path.join("agent")),
            path,
        }
    }

    pub fn paths(&self) -> Vec<PathBuf> {
        self.delegated
            .iter()
            .cloned()
            .chain([self.path.clone()])
            .collect()
    }

    pub fn create(&self, limits: &Limits, whole_on_oom: bool) -> Outcome<()> {
        if let Some(parent) = self.path.parent() {
            make_directory(parent)?;
            // Controllers are handed down level by level, from the root to the parent.
            let mut level = self.root.clone();
            let names = parent
                .strip_prefix(&self.root)
                .unwrap_or(Path::new(""))
                .iter();
            for name in std::iter::once(None).chain(names.map(Some)) {
                level.extend(name);
                write_value(&level.join("cgroup.subtree_control"), "+cpu +memory +pids")?;
            }
        }
        for path in self.paths().iter().rev() {
            make_directory(path)?;
        }
        write_value(
            &self.path.join("memory.oom.group"),
            if whole_on_oom { "1" } else { "0" },
        )?;
        self.set_limits(&Change::all(limits))
    }

    pub fn set_limits(&self, change: &Change) -> Outcome<()> {
        if let Some(bytes) = change.memory_bytes {
            write_value(&self.path.join("memory.max"), &bytes.to_string())?;
            let swap = self.path.join("memory.swap.max");
            if swap.exists() {
                write_value(&swap, "0")?;
            }
        }
        if let Some(millis) = change.cpu_millis {
            let quota = (millis * PERIOD_US / 1000).max(1000);
            write_value(&self.path.join("cpu.max"), &format!("{quota} {PERIOD_US}"))?;
        }
        if let Some(weight) = change.cpu_weight {
            write_value(&self.path.join("cpu.weight"), &weight.to_string())?;
        }
        if let Some(count) = change.pids {
            write_value(&self.path.join("pids.max"), &count.to_string())?;
        }
        Ok(())
    }

    pub fn limits(&self) -> Outcome<Limits> {
        let cpu = fs::read_to_string(self.path.join("cpu.max")).unwrap_or_default();
        let mut parts = cpu
            .split_whitespace()
            .map(|part| part.parse::<u64>().unwrap_or(u64::MAX));
        let (quota, period) = (
            parts.next().unwrap_or(u64::MAX),
            parts.next().unwrap_or(PERIOD_US).max(1),
        );
        Ok(Limits {
            memory_bytes: read_number(&self.path.join("memory.max"))?,
            cpu_millis: quota.saturating_mul(1000) / period,
            cpu_weight: read_number(&self.path.join("cpu.weight"))?,
            pids: read_number(&self.path.join("pids.max"))?,
        })
    }

    pub fn usage(&self) -> Outcome<Usage> {
        let text = |name: &str| fs::read_to_string(self.path.join(name)).unwrap_or_default();
        let memory_bytes = read_number(&self.path.join("memory.current"))?;
        Ok(Usage {
            memory_bytes,
            // memory.peak came with Linux 5.19.
            memory_peak_bytes: read_number(&self.path.join("memory.peak")).unwrap_or(memory_bytes),
            memory_limit_bytes: read_number(&self.path.join("memory.max"))?,
            cpu_ms: keyed(&text("cpu.stat"), "usage_usec ").unwrap_or(0) / 1000,
            pids: read_number(&self.path.join("pids.current"))?,
            oom_kills: self.oom_kills(),
            pids_limit_hits: keyed(&text("pids.events"), "max ").unwrap_or(0),
        })
    }

    pub fn oom_kills(&self) -> u64 {
        let text = fs::read_to_string(self.path.join("memory.events")).unwrap_or_default();
        keyed(&text, "oom_kill ").unwrap_or(0)
    }

    pub fn watch_oom(&self) -> io::Result<OwnedFd> {
        timer::watch_file(&self.path.join("memory.events"))
    }
}

pub const fn freezer_word(frozen: bool) -> &'static str {
    if frozen { "1" } else { "0" }
}

/// Reads cgroup.events.
pub fn is_frozen(events: &str) -> Option<bool> {
    keyed(events, "frozen ").map(|value| value == 1)
}
