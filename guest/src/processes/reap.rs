//! The only place that waits. One loop takes every child that ended: a known pid is settled with
//! its process, any other is an orphan that fell to us. So no exit code can be stolen.

use std::os::fd::AsRawFd;
use std::rc::Rc;

use super::process::WaitResult;
use crate::agent::Agent;
use crate::kernel::{descriptor, signals};

/// Runs for ever.
pub async fn reap(agent: Rc<Agent>) -> std::io::Result<()> {
    let ends = descriptor::watched(signals::child_ends()?)?;
    let mut buffer = [0; 1_024];
    loop {
        let mut guard = ends.readable().await?;
        let _ = guard.try_io(|fd| descriptor::read(fd.as_raw_fd(), &mut buffer));
        drop(guard);
        while let Some((pid, result)) = wait_any() {
            agent.processes.settle(pid, result);
        }
    }
}

fn wait_any() -> Option<(i32, WaitResult)> {
    let mut status = 0;
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let pid = unsafe { libc::wait4(-1, &mut status, libc::WNOHANG, &mut usage) };
    (pid > 0).then(|| (pid, WaitResult::new(status, &usage)))
}

impl WaitResult {
    pub fn new(status: i32, usage: &libc::rusage) -> Self {
        let ms = |time: &libc::timeval| time.tv_sec as u64 * 1_000 + time.tv_usec as u64 / 1_000;
        Self {
            status,
            cpu_ms: ms(&usage.ru_utime) + ms(&usage.ru_stime),
            peak_memory_bytes: usage.ru_maxrss as u64 * 1_024,
        }
    }
}
