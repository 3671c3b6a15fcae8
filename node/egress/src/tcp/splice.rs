//! Bytes from socket to socket through a pipe, without a copy into this process.
use crate::limits::SPLICE_PIPE_BYTES;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use tokio::io::Interest;
use tokio::net::TcpStream;

pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    pub fn new() -> io::Result<Self> {
        let mut ends = [0; 2];
        // SAFETY: the array has room for both descriptors.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: both are open and ours alone.
        let (read, write) = unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
        // SAFETY: no memory is passed. A smaller pipe works as well, only slower: the result does not matter.
        unsafe { libc::fcntl(write.as_raw_fd(), libc::F_SETPIPE_SZ, SPLICE_PIPE_BYTES) };
        Ok(Self { read, write })
    }

    /// Takes what the socket has; 0 at its end.
    pub async fn fill(&self, from: &TcpStream) -> io::Result<usize> {
        from.async_io(Interest::READABLE, || {
            splice(from.as_raw_fd(), self.write.as_raw_fd(), SPLICE_PIPE_BYTES as usize)
        })
        .await
    }

    pub async fn drain(&self, to: &TcpStream, mut length: usize) -> io::Result<()> {
        while length > 0 {
            let moved = to
                .async_io(Interest::WRITABLE, || {
                    splice(self.read.as_raw_fd(), to.as_raw_fd(), length)
                })
                .await?;
            if moved == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            length -= moved;
        }
        Ok(())
    }
}

fn splice(from: i32, to: i32, length: usize) -> io::Result<usize> {
    // SAFETY: no memory is passed; null offsets are what streams take.
    let moved = unsafe {
        libc::splice(
            from,
            std::ptr::null_mut(),
            to,
            std::ptr::null_mut(),
            length,
            libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE,
        )
    };
    usize::try_from(moved).map_err(|_| io::Error::last_os_error())
}
