//! SIGCHLD as a readable descriptor, and names of signals.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use super::descriptor;

/// Blocks SIGCHLD for good and gives a descriptor that becomes readable with it.
pub fn child_ends() -> io::Result<OwnedFd> {
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGCHLD);
        descriptor::retry(|| {
            libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) as isize
        })?;
        let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
        let fd = descriptor::retry(|| libc::signalfd(-1, &set, flags) as isize)?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// What must not end the agent (it matters on the host; as PID 1 the kernel already drops them).
/// Exec keeps what is ignored, and resets all else: a child has to undo just these.
pub const IGNORED: [i32; 5] =
    [libc::SIGHUP, libc::SIGINT, libc::SIGPIPE, libc::SIGTTOU, libc::SIGTTIN];

/// Ignores those, and takes back what the agent's own starter may have ignored.
pub fn ignore_interruptions() {
    for signal in 1..=64 {
        let action = if IGNORED.contains(&signal) { libc::SIG_IGN } else { libc::SIG_DFL };
        unsafe { libc::signal(signal, action) };
    }
}

const NAMES: [(&str, i32); 31] = [
    ("SIGHUP", libc::SIGHUP),
    ("SIGINT", libc::SIGINT),
    ("SIGQUIT", libc::SIGQUIT),
    ("SIGILL", libc::SIGILL),
    ("SIGTRAP", libc::SIGTRAP),
    ("SIGABRT", libc::SIGABRT),
    ("SIGBUS", libc::SIGBUS),
    ("SIGFPE", libc::SIGFPE),
    ("SIGKILL", libc::SIGKILL),
    ("SIGUSR1", libc::SIGUSR1),
    ("SIGSEGV", libc::SIGSEGV),
    ("SIGUSR2", libc::SIGUSR2),
    ("SIGPIPE", libc::SIGPIPE),
    ("SIGALRM", libc::SIGALRM),
    ("SIGTERM", libc::SIGTERM),
    ("SIGSTKFLT", libc::SIGSTKFLT),
    ("SIGCHLD", libc::SIGCHLD),
    ("SIGCONT", libc::SIGCONT),
    ("SIGSTOP", libc::SIGSTOP),
    ("SIGTSTP", libc::SIGTSTP),
    ("SIGTTIN", libc::SIGTTIN),
    ("SIGTTOU", libc::SIGTTOU),
    ("SIGURG", libc::SIGURG),
    ("SIGXCPU", libc::SIGXCPU),
    ("SIGXFSZ", libc::SIGXFSZ),
    ("SIGVTALRM", libc::SIGVTALRM),
    ("SIGPROF", libc::SIGPROF),
    ("SIGWINCH", libc::SIGWINCH),
    ("SIGIO", libc::SIGIO),
    ("SIGPWR", libc::SIGPWR),
    ("SIGSYS", libc::SIGSYS),
];

pub fn number(name: &str) -> Option<i32> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

pub fn name(number: i32) -> String {
    match NAMES.iter().find(|(_, known)| *known == number) {
        Some((name, _)) => (*name).to_owned(),
        None => format!("SIGRT{number}"),
    }
}
