//! How much memory the sandbox uses.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::meminfo::{Meminfo, row};
use super::shown_cgroup::{self, read};
use super::survey::{Member, PAGE_BYTES};

const CGROUP_FOLDER_VARIABLE: &str = "ATOLL_MEMORY_CGROUP_DIR";

/// Where the use is read from.
pub struct Memory {
    /// The sandbox's cgroup, where the host shows it.
    cgroup: Option<OwnedFd>,
    /// Whether the kernel is gVisor's, which belongs to this sandbox alone.
    pub is_gvisor: bool,
    /// gVisor's alone: elsewhere it is the host's, which the host itself covers.
    meminfo: Option<Meminfo>,
}

impl Memory {
    /// Opens the cgroup and takes it out of the sight of users.
    pub fn find() -> Self {
        let is_gvisor = is_gvisor();
        let meminfo = is_gvisor.then(Meminfo::open).transpose().unwrap_or_else(|error| {
            eprintln!("atoll-agent: cannot open /proc/meminfo: {error}");
            None
        });
        let cgroup = shown_cgroup::open(CGROUP_FOLDER_VARIABLE);
        let memory = Self { cgroup, is_gvisor, meminfo };
        if memory.cgroup.is_some() && memory.cgroup_used_bytes().is_none() {
            eprintln!("atoll-agent: {CGROUP_FOLDER_VARIABLE} cannot be read; adding up /proc");
            return Self { cgroup: None, ..memory };
        }
        memory
    }

    /// Shows programs this size, where the kernel is the sandbox's own.
    pub fn show(&self, bytes: u64) -> io::Result<()> {
        self.meminfo.as_ref().map_or(Ok(()), |meminfo| meminfo.show(bytes))
    }

    /// Tells programs the present use, where the kernel does not.
    pub fn refresh(&self) {
        if let Some(meminfo) = &self.meminfo {
            meminfo.refresh();
        }
    }

    /// From the cgroup; in gVisor, whose /proc/meminfo counts this sandbox alone, from there; else
    /// the sum of all resident sets.
    pub fn used_bytes(&self, members: &[Member]) -> u64 {
        self.quick_used_bytes().unwrap_or_else(|| {
            members.iter().map(|member| member.resident_pages * PAGE_BYTES).sum()
        })
    }

    /// What can be known without looking at each process.
    pub fn quick_used_bytes(&self) -> Option<u64> {
        self.cgroup_used_bytes().or_else(|| self.own_kernel_used_bytes())
    }

    /// Processes that the host's kernel killed for memory so far; None where that cannot be seen.
    pub fn kills(&self) -> Option<u64> {
        let folder = self.cgroup.as_ref()?.as_raw_fd();
        let text =
            read(folder, c"memory.events").or_else(|| read(folder, c"memory.oom_control"))?;
        row(&text, "oom_kill ")
    }

    fn cgroup_used_bytes(&self) -> Option<u64> {
        let folder = self.cgroup.as_ref()?.as_raw_fd();
        let number = |name: &CStr| read(folder, name)?.trim().parse::<u64>().ok();
        let current = number(c"memory.current").or_else(|| number(c"memory.usage_in_bytes"))?;
        // Clean cache is given back under pressure and is no reason to kill.
        let stat = read(folder, c"memory.stat").unwrap_or_default();
        let cache = row(&stat, "total_inactive_file ").or_else(|| row(&stat, "inactive_file "));
        Some(current.saturating_sub(cache.unwrap_or(0)))
    }

    /// No cache is in it: gVisor counts what its own memory file holds, as the host's cgroup does.
    fn own_kernel_used_bytes(&self) -> Option<u64> {
        let text = self.meminfo.as_ref()?.real()?;
        let kib = |name: &str| row(&text, name);
        Some(kib("MemTotal:")?.saturating_sub(kib("MemFree:")?) * 1_024)
    }
}

/// gVisor alone shows its own allocator there.
pub fn is_gvisor() -> bool {
    unsafe { libc::access(c"/proc/sentry-meminfo".as_ptr(), libc::F_OK) == 0 }
}
