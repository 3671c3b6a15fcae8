//! Where no cgroup can be had: one small process per tree that is its subreaper, so that whatever
//! a command starts stays below it in /proc, setsid and double forks included.
//!
//! Accepted risk. Root inside can kill a supervisor, and its tree then falls to the agent.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::child::{self, Failure, Plan, Step};
use super::descriptor;
use crate::processes::process::WaitResult;

const WORD_BYTES: usize = 4;
const ENDED_BYTES: usize = 24;

/// What the agent holds of a supervised process.
pub struct Supervised {
    pub supervisor: i32,
    pub pid: i32,
    /// Where the end will be told.
    pub report: OwnedFd,
}

/// Starts the plan's program below a new supervisor. The program announces itself before exec, so
/// one that kills its supervisor at once is still known.
pub fn start(plan: &mut Plan) -> Result<Supervised, Failure> {
    let failed = |error| Failure { step: Step::Clone, error };
    let (report, theirs) = descriptor::pipe().map_err(failed)?;
    plan.announce = Some(theirs.as_raw_fd());
    let supervisor = unsafe { libc::fork() };
    if supervisor == 0 {
        supervise(plan, theirs.as_raw_fd());
    }
    if supervisor < 0 {
        return Err(failed(io::Error::last_os_error()));
    }
    drop(theirs);
    let Some(pid) = read_word(&report).map_err(failed)? else {
        return Err(failed(io::Error::other("the supervisor ended before it started anything")));
    };
    let step = read_word(&report).map_err(failed)?;
    let errno = read_word(&report).map_err(failed)?;
    match (step, errno) {
        (Some(step), Some(errno)) if errno != 0 => {
            let error = io::Error::from_raw_os_error(errno);
            Err(Failure { step: Step::from_number(step), error })
        }
        _ => Ok(Supervised { supervisor, pid, report }),
    }
}

fn read_word(report: &OwnedFd) -> io::Result<Option<i32>> {
    let mut word = [0; WORD_BYTES];
    let count = descriptor::read(report.as_raw_fd(), &mut word)?;
    Ok((count == WORD_BYTES).then(|| i32::from_ne_bytes(word)))
}

/// What a report says once the program has ended; `None` when the supervisor was killed.
pub fn ended(report: &[u8]) -> Option<WaitResult> {
    let long = |at: usize| report.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes);
    (report.len() == ENDED_BYTES).then_some(())?;
    Some(WaitResult { status: long(0)? as i32, cpu_ms: long(8)?, peak_memory_bytes: long(16)? })
}

/// The supervisor's life. It is a copy of the agent with one thread, and runs none of its tasks.
fn supervise(plan: &Plan, report: i32) -> ! {
    unsafe {
        libc::setsid();
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    }
    let started = child::start(plan);
    let words = match &started {
        Ok(_) => vec![0, 0],
        Err(Failure { step, error }) => {
            let failure = [*step as i32, error.raw_os_error().unwrap_or(libc::EIO)];
            // A child that got as far as exec has announced itself already.
            let unannounced = *step != Step::Exec;
            unannounced.then_some(0).into_iter().chain(failure).collect()
        }
    };
    let told: Vec<u8> = words.iter().flat_map(|word: &i32| word.to_ne_bytes()).collect();
    let _ = descriptor::write_all(report, &told);
    if let Ok(pid) = started {
        // Else every pipe of every other process would live as long as this one.
        keep_only(report);
        reap_all(pid, report);
    }
    unsafe { libc::_exit(0) }
}

fn keep_only(report: i32) {
    unsafe {
        if report > 0 {
            libc::syscall(libc::SYS_close_range, 0, report - 1, 0);
        }
        libc::syscall(libc::SYS_close_range, report + 1, u32::MAX, 0);
    }
}

fn reap_all(main: i32, report: i32) {
    loop {
        let mut status = 0;
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        let pid = unsafe { libc::wait4(-1, &mut status, 0, &mut usage) };
        if pid == main {
            let result = WaitResult::new(status, &usage);
            let words = [result.status as u64, result.cpu_ms, result.peak_memory_bytes];
            let told: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            let _ = descriptor::write_all(report, &told);
        } else if pid < 0 && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return;
        }
    }
}
