//! A terminal of the command's own, where the caller has one: the command leads a session of its
//! own there, so that job control, Ctrl-C and a password prompt work as without sudo.

use std::ffi::CString;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::kernel::descriptor;

pub struct Terminal {
    pub outer: OwnedFd,
    pub inner: OwnedFd,
}

impl Terminal {
    /// Only when all three streams are the caller's terminal and it is in the foreground: else
    /// whoever shares it would find it raw.
    pub fn open() -> io::Result<Option<Self>> {
        let all = (0..3).all(|fd| unsafe { libc::isatty(fd) == 1 });
        if !all || unsafe { libc::tcgetpgrp(0) != libc::getpgrp() } {
            return Ok(None);
        }
        let flags = libc::O_RDWR | libc::O_NOCTTY;
        let outer = descriptor::open(c"/dev/ptmx", flags)?;
        let fd = outer.as_raw_fd();
        let mut number: libc::c_int = 0;
        let unlocked: libc::c_int = 0;
        descriptor::retry(|| unsafe { libc::ioctl(fd, libc::TIOCSPTLCK, &unlocked) as isize })?;
        descriptor::retry(|| unsafe { libc::ioctl(fd, libc::TIOCGPTN, &mut number) as isize })?;
        let inner = descriptor::open(&CString::new(format!("/dev/pts/{number}"))?, flags)?;
        let terminal = Self { outer, inner };
        let settings = settings()?;
        let fd = terminal.inner.as_raw_fd();
        descriptor::retry(|| unsafe { libc::tcsetattr(fd, libc::TCSANOW, &settings) as isize })?;
        terminal.take_size();
        Ok(Some(terminal))
    }

    /// Gives the inner terminal the size of the caller's.
    pub fn take_size(&self) {
        let fd = self.outer.as_raw_fd();
        unsafe {
            let mut size: libc::winsize = zeroed();
            if libc::ioctl(0, libc::TIOCGWINSZ, &mut size) == 0 {
                libc::ioctl(fd, libc::TIOCSWINSZ, &size);
            }
        }
    }
}

/// The caller's terminal while it passes every key on; it is as before when this is dropped.
pub struct Raw(libc::termios);

impl Raw {
    pub fn enter() -> io::Result<Self> {
        let before = settings()?;
        let mut raw = before;
        unsafe { libc::cfmakeraw(&mut raw) };
        descriptor::retry(|| unsafe { libc::tcsetattr(0, libc::TCSADRAIN, &raw) as isize })?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        unsafe { libc::tcsetattr(0, libc::TCSADRAIN, &self.0) };
    }
}

fn settings() -> io::Result<libc::termios> {
    let mut settings: libc::termios = unsafe { zeroed() };
    descriptor::retry(|| unsafe { libc::tcgetattr(0, &mut settings) as isize })?;
    Ok(settings)
}
