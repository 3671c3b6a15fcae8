//! Looks at /proc: who runs, below whom, and with how much memory.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::AsRawFd;

use crate::kernel::{descriptor, folder};

const STAT_MAX_BYTES: usize = 1_024;
pub const PAGE_BYTES: u64 = 4_096;
/// The kernel's USER_HZ is 100 on this architecture.
pub const TICK_MS: u64 = 10;
/// More than any limit that a sandbox is given.
const PROCESSES_MAX: usize = 65_536;

#[derive(Clone, Copy, Debug)]
pub struct Member {
    pub pid: i32,
    pub parent: i32,
    /// The letter of /proc; a zombie may have threads that run.
    pub state: u8,
    pub threads: u64,
    pub zombie: bool,
    pub cpu_ticks: u64,
    /// Since the kernel's start: with the pid it names a process for good.
    pub started_ticks: u64,
    pub resident_pages: u64,
}

/// Every process of the sandbox, the agent included.
pub fn members() -> Vec<Member> {
    pids().into_iter().filter_map(member).collect()
}

/// The pids of the same, at one instant as far as one read of the kernel's list holds them.
pub fn pids() -> Vec<i32> {
    numbers(c"/proc").unwrap_or_else(|error| {
        eprintln!("atoll-agent: cannot list /proc: {error}");
        Vec::new()
    })
}

pub fn member(pid: i32) -> Option<Member> {
    stat(pid, &format!("/proc/{pid}/stat"))
}

/// Where each thread of a process stands; those that ended under the look are left out.
pub fn thread_states(pid: i32) -> Vec<u8> {
    let Ok(folder) = CString::new(format!("/proc/{pid}/task")) else { return Vec::new() };
    let threads = numbers(&folder).unwrap_or_default();
    let state = |thread| stat(thread, &format!("/proc/{pid}/task/{thread}/stat"));
    threads.into_iter().filter_map(state).map(|member| member.state).collect()
}

fn numbers(folder: &CStr) -> io::Result<Vec<i32>> {
    let opened = descriptor::open(folder, libc::O_RDONLY | libc::O_DIRECTORY)?;
    let mut found = Vec::new();
    folder::for_each_name(opened.as_raw_fd(), |name| {
        found.extend(name.to_str().ok().and_then(|name| name.parse::<i32>().ok()));
        found.len() < PROCESSES_MAX
    })?;
    Ok(found)
}

fn stat(pid: i32, path: &str) -> Option<Member> {
    let file = descriptor::open(&CString::new(path).ok()?, libc::O_RDONLY).ok()?;
    let bytes = descriptor::read_small(file.as_raw_fd(), STAT_MAX_BYTES).ok()?;
    parse(pid, &bytes)
}

/// How many processes there are, without the agent.
pub fn count() -> usize {
    members().len().saturating_sub(1)
}

/// CPU of all that were already waited for.
pub fn reaped_cpu_ms() -> u64 {
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage) };
    let ms = |time: libc::timeval| time.tv_sec as u64 * 1_000 + time.tv_usec as u64 / 1_000;
    ms(usage.ru_utime) + ms(usage.ru_stime)
}

/// Everything below `ancestor`, itself not included.
pub fn descendants(ancestor: i32) -> Vec<i32> {
    let members = members();
    let found = below(ancestor, &members);
    let alive = |pid: &i32| members.iter().any(|member| member.pid == *pid && !member.zombie);
    found.into_iter().filter(alive).collect()
}

/// Those of `members` that are below `ancestor`, itself not included.
pub fn below(ancestor: i32, members: &[Member]) -> HashSet<i32> {
    let mut found = HashSet::from([ancestor]);
    loop {
        let before = found.len();
        for member in members {
            if found.contains(&member.parent) {
                found.insert(member.pid);
            }
        }
        if found.len() == before {
            break;
        }
    }
    found.remove(&ancestor);
    found
}

/// The name in the second field is the process's own choice and may hold anything.
fn parse(pid: i32, stat: &[u8]) -> Option<Member> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(name_end + 2..)?).ok()?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let number = |index: usize| fields.get(index).and_then(|text| text.trim().parse::<i64>().ok());
    let state = *fields.first()?.as_bytes().first()?;
    Some(Member {
        pid,
        parent: number(1)? as i32,
        state,
        threads: number(17)?.max(0) as u64,
        zombie: matches!(state, b'Z' | b'X'),
        cpu_ticks: (number(11)? + number(12)?) as u64,
        started_ticks: number(19)?.max(0) as u64,
        resident_pages: number(21)?.max(0) as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_fake_the_fields() {
        let stat = b"7 (a) Z 1 (b) S 3 7 7 0 -1 0 0 0 0 0 5 6 0 0 20 0 2 0 9 4096 42 x";
        let member = parse(7, stat).unwrap();
        assert_eq!((member.state, member.threads, member.started_ticks), (b'S', 2, 9));
        assert_eq!((member.parent, member.zombie), (3, false));
        assert_eq!((member.cpu_ticks, member.resident_pages), (11, 42));
    }

    #[test]
    fn this_process_is_there() {
        let own = std::process::id() as i32;
        assert!(members().iter().any(|member| member.pid == own && member.resident_pages > 0));
    }
}
