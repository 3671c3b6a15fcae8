//! Waiting for descriptors.

use std::io;
use std::os::fd::RawFd;

/// What to wait for, and after `wait` what is there.
pub struct Interest(Vec<libc::pollfd>);

impl Interest {
    pub fn new() -> Self {
        Self(Vec::with_capacity(32))
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds a descriptor; the answer is its place for `ready`.
    pub fn add(&mut self, fd: RawFd, read: bool, write: bool) -> usize {
        let events = if read { libc::POLLIN } else { 0 } | if write { libc::POLLOUT } else { 0 };
        self.0.push(libc::pollfd {
            fd,
            events,
            revents: 0,
        });
        self.0.len() - 1
    }

    /// Readable, at its end, or broken.
    pub fn readable(&self, place: usize) -> bool {
        self.0[place].revents & (libc::POLLIN | libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0
    }

    pub fn writable(&self, place: usize) -> bool {
        self.0[place].revents & (libc::POLLOUT | libc::POLLERR | libc::POLLNVAL | libc::POLLHUP)
            != 0
    }

    /// Hung up or in error, whatever was asked for.
    pub fn broken(&self, place: usize) -> bool {
        self.0[place].revents & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0
    }

    /// Waits at most `timeout_ms` (None: for ever). An interruption counts as nothing ready.
    pub fn wait(&mut self, timeout_ms: Option<u64>) -> io::Result<()> {
        let timeout = timeout_ms.map_or(-1, |ms| i32::try_from(ms).unwrap_or(i32::MAX));
        // SAFETY: the vector bounds what the kernel touches.
        let result =
            unsafe { libc::poll(self.0.as_mut_ptr(), self.0.len() as libc::nfds_t, timeout) };
        if result < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
            self.0.iter_mut().for_each(|entry| entry.revents = 0);
        }
        Ok(())
    }
}

/// Waits for one descriptor to become readable.
pub fn wait_readable(fd: RawFd, timeout_ms: u64) -> bool {
    let mut one = Interest::new();
    let place = one.add(fd, true, false);
    one.wait(Some(timeout_ms)).is_ok() && one.readable(place)
}
