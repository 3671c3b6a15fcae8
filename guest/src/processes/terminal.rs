//! Pseudo-terminals.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use tokio::io::unix::AsyncFd;

use super::request::Size;
use crate::kernel::descriptor;
use crate::limits::memory;

const TTY_MODE: u32 = 0o620;

/// The agent's side of a terminal.
pub struct Terminal {
    pub master: AsyncFd<OwnedFd>,
}

/// Opens a pair that belongs to `uid`; the second is the process's side.
pub fn open(size: Size, uid: u32, gid: u32) -> io::Result<(Terminal, OwnedFd)> {
    let flags = libc::O_RDWR | libc::O_NOCTTY;
    let master = descriptor::open(c"/dev/ptmx", flags)?;
    let fd = master.as_raw_fd();
    let mut number: libc::c_int = 0;
    let unlocked: libc::c_int = 0;
    descriptor::retry(|| unsafe { libc::ioctl(fd, libc::TIOCSPTLCK, &unlocked) as isize })?;
    descriptor::retry(|| unsafe { libc::ioctl(fd, libc::TIOCGPTN, &mut number) as isize })?;
    let slave = descriptor::open(&CString::new(format!("/dev/pts/{number}"))?, flags)?;
    let slave_fd = slave.as_raw_fd();
    // A devpts may refuse both; a process that opened nothing itself still has its descriptors.
    unsafe {
        libc::fchown(slave_fd, uid, gid);
        libc::fchmod(slave_fd, TTY_MODE);
    }
    set_size(fd, size)?;
    descriptor::set_nonblocking(fd)?;
    Ok((Terminal { master: descriptor::watched(master)? }, slave))
}

impl Terminal {
    /// Sets the size and makes sure that the foreground hears of it: gVisor sends no SIGWINCH.
    pub fn resize(&self, size: Size, session: i32) -> io::Result<()> {
        let fd = self.master.as_raw_fd();
        set_size(fd, size)?;
        if memory::is_gvisor() {
            let mut group: libc::pid_t = 0;
            let known = unsafe { libc::ioctl(fd, libc::TIOCGPGRP, &mut group) == 0 && group > 1 };
            unsafe { libc::kill(-(if known { group } else { session }), libc::SIGWINCH) };
        }
        Ok(())
    }
}

fn set_size(fd: i32, size: Size) -> io::Result<()> {
    let size =
        libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    descriptor::retry(|| unsafe { libc::ioctl(fd, libc::TIOCSWINSZ, &size) as isize }).map(drop)
}
