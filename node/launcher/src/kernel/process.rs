//! Processes: fork, pidfd, wait, identity.

use super::{check, check_long};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Which side of a fork one is on.
pub enum Forked {
    Child,
    Parent(i32),
}

/// Forks. The launcher has one thread, so the child may do anything.
pub fn fork() -> io::Result<Forked> {
    // SAFETY: single-threaded process: no lock can be held by another thread.
    match check(unsafe { libc::fork() })? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid)),
    }
}

/// Ends this process without running anything else.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: never returns.
    unsafe { libc::_exit(code) }
}

pub fn pid() -> i32 {
    std::process::id().cast_signed()
}

pub fn parent_pid() -> i32 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::getppid() }
}

pub fn own_uid() -> u32 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::geteuid() }
}

pub fn new_session() -> io::Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::setsid() }).map(drop)
}

pub fn set_umask(mask: u32) {
    // SAFETY: cannot fail.
    unsafe { libc::umask(mask) };
}

/// Field 22 of /proc/pid/stat, or None when there is no such process.
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may itself hold spaces and parentheses.
    let rest = &stat[stat.rfind(')')? + 2..];
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// True for a process that has ended but was not waited for.
pub fn is_zombie(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| {
            stat.rfind(')')
                .and_then(|end| stat.as_bytes().get(end + 2).copied())
        })
        .is_some_and(|state| state == b'Z' || state == b'X')
}

pub fn open_pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call makes a new descriptor that nobody else owns.
    let raw = check_long(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(raw).unwrap_or(-1)) })
}

pub fn kill_by_pidfd(pidfd: BorrowedFd, signal: i32) -> io::Result<()> {
    // SAFETY: a null siginfo means "like kill(2)".
    check_long(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<u8>(),
            0,
        )
    })
    .map(drop)
}

pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Code(i32),
    Signal(i32),
}

fn decode(status: libc::c_int) -> End {
    if libc::WIFSIGNALED(status) {
        End::Signal(libc::WTERMSIG(status))
    } else {
        End::Code(libc::WEXITSTATUS(status))
    }
}

/// Takes the end of one child (or of any, with -1) without blocking.
pub fn reap(pid: i32) -> Option<(i32, End)> {
    let mut status = 0;
    // SAFETY: status lives through the call.
    let got = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
    (got > 0).then(|| (got, decode(status)))
}

/// Exit status of a process that was not our child, after someone else waited for it (Linux 6.15 and later).
pub fn exit_by_pidfd(pidfd: BorrowedFd) -> Option<End> {
    const PIDFD_INFO_EXIT: u64 = 1 << 3;
    const PIDFD_GET_INFO: libc::c_ulong = 0xC040_FF0B;
    let mut info = [0u64; 8];
    info[0] = PIDFD_INFO_EXIT;
    // SAFETY: the kernel fills at most the 64 bytes that the request number announces.
    let result = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO as _, info.as_mut_ptr()) };
    // struct pidfd_info: mask u64, cgroupid u64, pid tgid ppid ruid rgid euid egid suid sgid fsuid fsgid u32, exit_code i32.
    (result == 0 && info[0] & PIDFD_INFO_EXIT != 0).then(|| decode((info[7] >> 32) as u32 as i32))
}

pub fn become_subreaper() -> io::Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }).map(drop)
}

/// The caller dies with its parent. False when the parent is already another.
pub fn die_with_parent(parent: i32) -> bool {
    // SAFETY: no memory is passed.
    let set = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
    set == 0 && parent_pid() == parent
}

pub fn set_timer_slack_ns(slack_ns: u64) -> io::Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, slack_ns as libc::c_ulong, 0, 0, 0) })
        .map(drop)
}

/// Keeps name and descriptors from other users' eyes, and from ptrace.
pub fn set_name(name: &str) {
    let mut bytes = [0u8; 16];
    let length = name.len().min(15);
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    // SAFETY: 16 bytes with a final NUL, as PR_SET_NAME wants.
    unsafe { libc::prctl(libc::PR_SET_NAME, bytes.as_ptr(), 0, 0, 0) };
}

/// Closes every descriptor but the given ones: forked spares must not hold a client's connection open.
pub fn close_all_but(keep: &[RawFd]) {
    let mut sorted: Vec<RawFd> = keep.to_vec();
    sorted.extend([0, 1, 2]);
    sorted.sort_unstable();
    sorted.dedup();
    let mut from = 0u32;
    for fd in sorted {
        let fd = fd.cast_unsigned();
        if fd > from {
            // SAFETY: closes descriptors that this process has decided to forget.
            unsafe { libc::syscall(libc::SYS_close_range, from, fd - 1, 0) };
        }
        from = fd + 1;
    }
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_close_range, from, u32::MAX, 0) };
}

/// Ignores SIGPIPE and the terminal's signals; gives back a descriptor that reads SIGCHLD.
pub fn route_signals() -> io::Result<OwnedFd> {
    // SAFETY: plain signal set-up on sets that live on this stack.
    unsafe {
        for signal in [
            libc::SIGPIPE,
            libc::SIGHUP,
            libc::SIGINT,
            libc::SIGTERM,
            libc::SIGQUIT,
        ] {
            libc::signal(signal, libc::SIG_IGN);
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        check(libc::sigprocmask(
            libc::SIG_BLOCK,
            &raw const set,
            std::ptr::null_mut(),
        ))?;
        Ok(OwnedFd::from_raw_fd(check(libc::signalfd(
            -1,
            &raw const set,
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        ))?))
    }
}

/// Undoes `route_signals` for a program about to be executed.
pub fn reset_signals() {
    // SAFETY: as above.
    unsafe {
        for signal in [
            libc::SIGPIPE,
            libc::SIGHUP,
            libc::SIGINT,
            libc::SIGTERM,
            libc::SIGQUIT,
        ] {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

/// Puts a descriptor at a number. Both stay open; the copy survives exec.
pub fn place_fd(from: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::dup2(from, to) }).map(drop)
}

/// Replaces this process.
pub fn exec(argv: &[String], env: &[(String, String)]) -> io::Error {
    let bad = |_| io::Error::from_raw_os_error(libc::EINVAL);
    let strings = |all: &mut dyn Iterator<Item = String>| -> io::Result<Vec<std::ffi::CString>> {
        all.map(|text| std::ffi::CString::new(text).map_err(bad))
            .collect()
    };
    let args = match strings(&mut argv.iter().cloned()) {
        Ok(args) => args,
        Err(error) => return error,
    };
    let vars = match strings(&mut env.iter().map(|(name, value)| format!("{name}={value}"))) {
        Ok(vars) => vars,
        Err(error) => return error,
    };
    let pointers = |all: &[std::ffi::CString]| -> Vec<*const libc::c_char> {
        all.iter()
            .map(|text| text.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    };
    let (argv, envp) = (pointers(&args), pointers(&vars));
    let Some(&program) = argv.first().filter(|pointer| !pointer.is_null()) else {
        return io::Error::from_raw_os_error(libc::EINVAL);
    };
    // SAFETY: both arrays end with null and their strings outlive the call.
    unsafe { libc::execve(program, argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

/// Does `work` with files made for that user and group, and all capabilities kept.
pub fn with_file_ids<T>(id: u32, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    const SECBIT_NO_SETUID_FIXUP: libc::c_ulong = 1 << 2;
    // SAFETY: no memory is passed; the process has one thread.
    unsafe {
        let bits = check(libc::prctl(libc::PR_GET_SECUREBITS))? as libc::c_ulong;
        check(libc::prctl(
            libc::PR_SET_SECUREBITS,
            bits | SECBIT_NO_SETUID_FIXUP,
        ))?;
        libc::setfsgid(id);
        libc::setfsuid(id);
        let done = work();
        libc::setfsuid(libc::geteuid());
        libc::setfsgid(libc::getegid());
        check(libc::prctl(libc::PR_SET_SECUREBITS, bits))?;
        done
    }
}
