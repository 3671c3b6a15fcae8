//! Which CPUs a thread may use.

use super::check;
use std::io;

pub type CpuSet = libc::cpu_set_t;

pub fn affinity(pid: i32) -> io::Result<CpuSet> {
    // SAFETY: an all-zero cpu_set_t is valid and the size is its own.
    unsafe {
        let mut set: CpuSet = std::mem::zeroed();
        check(libc::sched_getaffinity(
            pid,
            size_of::<CpuSet>(),
            &raw mut set,
        ))?;
        Ok(set)
    }
}

pub fn set_affinity(pid: i32, set: &CpuSet) -> io::Result<()> {
    // SAFETY: the set is borrowed for the call.
    check(unsafe { libc::sched_setaffinity(pid, size_of::<CpuSet>(), set) }).map(drop)
}

/// The first `count` CPUs of a set, beginning at the `offset`th, so that boots spread over the CPUs.
pub fn some_cpus(of: &CpuSet, count: usize, offset: usize) -> CpuSet {
    // SAFETY: the macros only touch the bits of the given sets.
    unsafe {
        let all: Vec<usize> = (0..libc::CPU_SETSIZE as usize)
            .filter(|&cpu| libc::CPU_ISSET(cpu, of))
            .collect();
        let mut set: CpuSet = std::mem::zeroed();
        for index in 0..count.min(all.len()) {
            libc::CPU_SET(all[(offset + index) % all.len()], &mut set);
        }
        set
    }
}

pub fn same_cpus(a: &CpuSet, b: &CpuSet) -> bool {
    // SAFETY: reads only.
    unsafe { libc::CPU_EQUAL(a, b) }
}
