//! Cgroup version 1: one directory for each controller.

use super::{Change, Usage, keyed, make_directory, read_number, write_value};
use crate::fault::Outcome;
use crate::kernel::timer;
use crate::launch::{Limits, NORMAL_CPU_WEIGHT};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

const PERIOD_US: u64 = 100_000;
/// What cgroup2 calls a weight of 100, and the kernel's least.
const NORMAL_SHARES: u64 = 1024;
const LEAST_SHARES: u64 = 2;

#[derive(Debug, Clone)]
pub struct Directories {
    by_controller: BTreeMap<String, PathBuf>,
    /// The mount of cgroup2 beside, which has no controllers.
    pub unified: Option<PathBuf>,
    /// In the unified mount beside: for the agent's groups.
    pub delegated: Option<PathBuf>,
}

impl Directories {
    pub fn plan(
        controllers: &BTreeMap<String, PathBuf>,
        unified: Option<&Path>,
        parent: &str,
        id: &str,
        delegated: bool,
    ) -> Self {
        let place = |root: &PathBuf| root.join(parent).join(id);
        let by_controller = controllers
            .iter()
            .map(|(name, root)| (name.clone(), place(root)));
        let beside = unified.filter(|_| delegated);
        Self {
            by_controller: by_controller.collect(),
            unified: unified.map(Path::to_owned),
            delegated: beside.map(|root| root.join(parent).join(id).join("agent")),
        }
    }

    pub fn paths(&self) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> = Vec::new();
        if let Some(delegated) = &self.delegated {
            all.push(delegated.clone());
            all.extend(delegated.parent().map(Path::to_owned));
        }
        for path in self.by_controller.values() {
            // cpu and cpuacct are often one mount.
            if !all.contains(path) {
                all.push(path.clone());
            }
        }
        all
    }

    /// Where the runtime's processes go.
    pub fn joined(&self) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> = self
            .by_controller
            .values()
            .chain(&self.delegated)
            .cloned()
            .collect();
        all.dedup();
        all
    }

    pub fn of(&self, controller: &str) -> PathBuf {
        self.by_controller
            .get(controller)
            .cloned()
            .unwrap_or_default()
    }

    pub fn create(&self, limits: &Limits) -> Outcome<()> {
        for path in self.paths().iter().rev() {
            make_directory(path)?;
        }
        self.set_limits(&Change::all(limits))
    }

    pub fn set_limits(&self, change: &Change) -> Outcome<()> {
        if let Some(bytes) = change.memory_bytes {
            write_value(
                &self.of("memory").join("memory.limit_in_bytes"),
                &bytes.to_string(),
            )?;
        }
        if let Some(millis) = change.cpu_millis {
            write_value(
                &self.of("cpu").join("cpu.cfs_period_us"),
                &PERIOD_US.to_string(),
            )?;
            let quota = (millis * PERIOD_US / 1000).max(1000);
            write_value(&self.of("cpu").join("cpu.cfs_quota_us"), &quota.to_string())?;
        }
        if let Some(weight) = change.cpu_weight {
            let shares = (weight * NORMAL_SHARES / NORMAL_CPU_WEIGHT).max(LEAST_SHARES);
            write_value(&self.of("cpu").join("cpu.shares"), &shares.to_string())?;
        }
        if let Some(count) = change.pids {
            write_value(&self.of("pids").join("pids.max"), &count.to_string())?;
        }
        Ok(())
    }

    pub fn limits(&self) -> Outcome<Limits> {
        let quota = read_number(&self.of("cpu").join("cpu.cfs_quota_us"))?;
        let period = read_number(&self.of("cpu").join("cpu.cfs_period_us"))?.max(1);
        Ok(Limits {
            memory_bytes: read_number(&self.of("memory").join("memory.limit_in_bytes"))?,
            cpu_millis: quota.saturating_mul(1000) / period,
            cpu_weight: read_number(&self.of("cpu").join("cpu.shares"))?
                .saturating_mul(NORMAL_CPU_WEIGHT)
                .div_ceil(NORMAL_SHARES),
            pids: read_number(&self.of("pids").join("pids.max"))?,
        })
    }

    pub fn usage(&self) -> Outcome<Usage> {
        let memory = self.of("memory");
        let events = fs::read_to_string(self.of("pids").join("pids.events")).unwrap_or_default();
        Ok(Usage {
            memory_bytes: read_number(&memory.join("memory.usage_in_bytes"))?,
            memory_peak_bytes: read_number(&memory.join("memory.max_usage_in_bytes"))?,
            memory_limit_bytes: read_number(&memory.join("memory.limit_in_bytes"))?,
            cpu_ms: read_number(&self.of("cpuacct").join("cpuacct.usage"))? / 1_000_000,
            pids: read_number(&self.of("pids").join("pids.current"))?,
            oom_kills: self.oom_kills(),
            pids_limit_hits: keyed(&events, "max ").unwrap_or(0),
        })
    }

    pub fn oom_kills(&self) -> u64 {
        let text =
            fs::read_to_string(self.of("memory").join("memory.oom_control")).unwrap_or_default();
        keyed(&text, "oom_kill ").unwrap_or(0)
    }

    /// Registers an event counter with the kernel.
    pub fn watch_oom(&self) -> io::Result<OwnedFd> {
        let counter = timer::event_counter()?;
        let control = File::open(self.of("memory").join("memory.oom_control"))?;
        let line = format!("{} {}", counter.as_raw_fd(), control.as_raw_fd());
        fs::write(self.of("memory").join("cgroup.event_control"), line)?;
        Ok(counter)
    }
}

pub const fn freezer_word(frozen: bool) -> &'static str {
    if frozen { "FROZEN" } else { "THAWED" }
}

/// None while the freezer is on its way.
pub fn is_frozen(state: &str) -> Option<bool> {
    match state.trim() {
        "FROZEN" => Some(true),
        "THAWED" => Some(false),
        _ => None,
    }
}
