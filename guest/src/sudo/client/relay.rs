//! Between the caller and its command: signals one way, the end the other, and a terminal's bytes
//! both ways.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::super::wire::{ANSWER_MAX_BYTES, Answer};
use super::terminal::{Raw, Terminal};
use crate::kernel::descriptor;

const SIGNALS: [i32; 8] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGALRM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
];
const PIECE_BYTES: usize = 16 << 10;
const END_OF_TRANSMISSION: u8 = 4;

/// From here on the signals come by the descriptor and end nothing.
pub fn block_signals() -> io::Result<OwnedFd> {
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in SIGNALS {
            libc::sigaddset(&mut set, signal);
        }
        let null = std::ptr::null_mut();
        descriptor::retry(|| libc::sigprocmask(libc::SIG_BLOCK, &set, null) as isize)?;
        let fd = descriptor::retry(|| libc::signalfd(-1, &set, libc::SFD_CLOEXEC) as isize)?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// Relays until the agent has answered.
pub fn relay(agent: &OwnedFd, signals: &OwnedFd, terminal: Option<Terminal>) -> io::Result<Answer> {
    let mut raw = None;
    let outer = match &terminal {
        Some(terminal) => {
            raw = Some(Raw::enter()?);
            terminal.outer.as_raw_fd()
        }
        None => -1,
    };
    let mut input = if terminal.is_some() { 0 } else { -1 };
    let mut told = Vec::new();
    loop {
        let entry = |fd, events| libc::pollfd { fd, events, revents: 0 };
        let mut entries = [
            entry(signals.as_raw_fd(), libc::POLLIN),
            entry(agent.as_raw_fd(), libc::POLLIN),
            entry(outer, libc::POLLIN),
            entry(input, libc::POLLIN),
        ];
        descriptor::retry(|| unsafe { libc::poll(entries.as_mut_ptr(), 4, -1) as isize })?;
        let ready = entries.map(|entry| entry.revents != 0);
        if ready[0] {
            forward(signals, agent, terminal.as_ref())?;
        }
        if ready[2] {
            copy(outer, 1)?;
        }
        if ready[3] && copy(0, outer)? == 0 {
            descriptor::write(outer, &[END_OF_TRANSMISSION])?;
            input = -1;
        }
        if ready[1] {
            let mut piece = [0; 1_024];
            let count = descriptor::read(agent.as_raw_fd(), &mut piece)?;
            if count == 0 || told.len() > 2 * ANSWER_MAX_BYTES {
                return Err(io::Error::other("it went away"));
            }
            told.extend_from_slice(&piece[..count]);
        }
        if let Some(answer) = Answer::decode(&told) {
            drain(outer)?;
            drop(raw.take());
            return Ok(answer);
        }
    }
}

fn forward(signals: &OwnedFd, agent: &OwnedFd, terminal: Option<&Terminal>) -> io::Result<()> {
    let mut record = [0_u8; size_of::<libc::signalfd_siginfo>()];
    descriptor::read(signals.as_raw_fd(), &mut record)?;
    // Its first field is the number, which fits a byte.
    let signal = record[0];
    if i32::from(signal) == libc::SIGWINCH
        && let Some(terminal) = terminal
    {
        terminal.take_size();
    }
    descriptor::write(agent.as_raw_fd(), &[signal]).map(drop)
}

fn copy(from: RawFd, to: RawFd) -> io::Result<usize> {
    let mut piece = [0; PIECE_BYTES];
    match descriptor::read(from, &mut piece) {
        Ok(count) => descriptor::write_all(to, &piece[..count]).map(|()| count),
        // EIO: the other side has no holder just now.
        Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(0),
        Err(error) => Err(error),
    }
}

/// What the command wrote before its end.
fn drain(outer: RawFd) -> io::Result<()> {
    let mut entry = libc::pollfd { fd: outer, events: libc::POLLIN, revents: 0 };
    while outer >= 0 && unsafe { libc::poll(&mut entry, 1, 0) } > 0 {
        if entry.revents & libc::POLLIN == 0 || copy(outer, 1)? == 0 {
            break;
        }
    }
    Ok(())
}
