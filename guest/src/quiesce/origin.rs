//! Tells a copy from the machine that it was copied from.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// The ends of the link, which live as long as the agent; those of a copy are other sockets of the host.
///
/// gVisor 20240729 counts inodes by itself and restores the count, but passes the host's time of a socket's
/// last change on: that of its making, in steps of 4 ms (measured). Two machines made within one step are
/// told apart by nothing; the switch of quiesce does not rely on this alone for that reason.
pub struct Origin {
    input: RawFd,
    output: RawFd,
}

/// What is known of both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sign([End; 2]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    device: u64,
    inode: u64,
    /// Seconds and nanoseconds; a pipe's moves with each write and is left out.
    changed: (i64, i64),
}

impl Origin {
    pub fn of(input: &OwnedFd, output: &OwnedFd) -> Self {
        Self { input: input.as_raw_fd(), output: output.as_raw_fd() }
    }

    pub fn sign(&self) -> Sign {
        Sign([self.input, self.output].map(|fd| {
            let mut found: libc::stat = unsafe { std::mem::zeroed() };
            // A failure leaves zeros, which equal no socket's.
            unsafe { libc::fstat(fd, &mut found) };
            let is_socket = found.st_mode & libc::S_IFMT == libc::S_IFSOCK;
            let changed = if is_socket { (found.st_ctime, found.st_ctime_nsec) } else { (0, 0) };
            End { device: found.st_dev, inode: found.st_ino, changed }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::descriptor;
    use std::os::unix::net::UnixStream;

    #[test]
    fn other_ends_have_another_sign() {
        let sign = || {
            let (input, output) = descriptor::pipe().unwrap();
            let sign = Origin::of(&input, &output).sign();
            (sign, input, output)
        };
        let (one, input, output) = sign();
        let (other, ..) = sign();
        assert_ne!(one, other);
        assert_eq!(one, Origin::of(&input, &output).sign());
    }

    #[test]
    fn traffic_changes_no_sign() {
        let (input, output) = descriptor::pipe().unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        let (near, far) = (OwnedFd::from(near), OwnedFd::from(far));
        let (pipes, sockets) = (Origin::of(&input, &output), Origin::of(&near, &far));
        let before = (pipes.sign(), sockets.sign());
        std::thread::sleep(std::time::Duration::from_millis(20));
        descriptor::write_all(output.as_raw_fd(), b"x").unwrap();
        descriptor::write_all(near.as_raw_fd(), b"x").unwrap();
        assert_eq!((pipes.sign(), sockets.sign()), before);
    }
}
