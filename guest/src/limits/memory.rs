//! How much memory the sandbox uses.

use std::ffi::CString;
use std::os::fd::AsRawFd;

use super::survey::{Member, PAGE_BYTES};
use crate::kernel::descriptor;

const CGROUP_FOLDER_VARIABLE: &str = "ATOLL_MEMORY_CGROUP_DIR";
const FILE_MAX_BYTES: usize = 8_192;

/// From the sandbox's cgroup where the host shows it; in gVisor, whose /proc/meminfo counts this
/// sandbox alone, from there; else the sum of all resident sets.
pub fn used_bytes(members: &[Member]) -> u64 {
    cgroup_used_bytes()
        .or_else(own_kernel_used_bytes)
        .unwrap_or_else(|| members.iter().map(|member| member.resident_pages * PAGE_BYTES).sum())
}

/// What can be known without looking at each process.
pub fn quick_used_bytes() -> Option<u64> {
    cgroup_used_bytes().or_else(own_kernel_used_bytes)
}

fn cgroup_used_bytes() -> Option<u64> {
    let folder = std::env::var(CGROUP_FOLDER_VARIABLE).ok()?;
    let number = |name: &str| read(&format!("{folder}/{name}"))?.trim().parse::<u64>().ok();
    let current = number("memory.current").or_else(|| number("memory.usage_in_bytes"))?;
    // Clean cache is given back under pressure and is no reason to kill.
    let stat = read(&format!("{folder}/memory.stat")).unwrap_or_default();
    let cache = row(&stat, "inactive_file ").or_else(|| row(&stat, "total_inactive_file "));
    Some(current.saturating_sub(cache.unwrap_or(0)))
}

fn own_kernel_used_bytes() -> Option<u64> {
    if !is_gvisor() {
        return None;
    }
    let text = read("/proc/meminfo")?;
    let kib = |name: &str| row(&text, name);
    Some(kib("MemTotal:")?.saturating_sub(kib("MemFree:")?) * 1_024)
}

/// gVisor alone shows its own allocator there.
pub fn is_gvisor() -> bool {
    unsafe { libc::access(c"/proc/sentry-meminfo".as_ptr(), libc::F_OK) == 0 }
}

fn row(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn read(path: &str) -> Option<String> {
    let file = descriptor::open(&CString::new(path).ok()?, libc::O_RDONLY).ok()?;
    let bytes = descriptor::read_small(file.as_raw_fd(), FILE_MAX_BYTES).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
