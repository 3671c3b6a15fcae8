//! Unix sockets, pipes, and bytes through descriptors.

use super::check;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

/// A connected pair of stream sockets, close-on-exec.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: the kernel fills two descriptors that nobody else owns.
    unsafe {
        check(libc::socketpair(
            libc::AF_UNIX,
            libc::SOCK_STREAM | libc::SOCK_CLOEXEC,
            0,
            fds.as_mut_ptr(),
        ))?;
        Ok((OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])))
    }
}

/// A pipe: (read end, write end), close-on-exec.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: as above.
    unsafe {
        check(libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC))?;
        Ok((OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])))
    }
}

pub fn set_nonblocking(fd: BorrowedFd) -> io::Result<()> {
    // SAFETY: no memory is passed.
    unsafe {
        let flags = check(libc::fcntl(fd.as_raw_fd(), libc::F_GETFL))?;
        check(libc::fcntl(
            fd.as_raw_fd(),
            libc::F_SETFL,
            flags | libc::O_NONBLOCK,
        ))
        .map(drop)
    }
}

/// Room for a burst between two sides that take turns on few cores.
pub fn set_buffers(fd: BorrowedFd, bytes: i32) {
    for option in [libc::SO_SNDBUFFORCE, libc::SO_RCVBUFFORCE] {
        // SAFETY: the value is an int, as these options want. A refusal leaves the default, which works.
        unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const bytes).cast(),
                size_of::<i32>() as u32,
            )
        };
    }
}

/// Limits blocking sends and receives.
pub fn set_timeouts(fd: BorrowedFd, timeout_ms: u64) -> io::Result<()> {
    let time = libc::timeval {
        tv_sec: (timeout_ms / 1000).cast_signed(),
        tv_usec: ((timeout_ms % 1000) * 1000).cast_signed(),
    };
    for option in [libc::SO_SNDTIMEO, libc::SO_RCVTIMEO] {
        // SAFETY: a timeval is what both options want.
        check(unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const time).cast(),
                size_of::<libc::timeval>() as u32,
            )
        })?;
    }
    Ok(())
}

/// Paths of unix sockets end at 107 bytes: long ones are reached through a descriptor of their folder.
fn address(path: &Path) -> io::Result<(libc::sockaddr_un, Option<File>)> {
    use std::os::unix::ffi::OsStrExt;
    const LONGEST_PATH_BYTES: usize = 107;
    // SAFETY: all zeroes is a valid sockaddr_un.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as u16;
    let (bytes, folder) = if path.as_os_str().len() <= LONGEST_PATH_BYTES {
        (path.as_os_str().as_bytes().to_vec(), None)
    } else {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        };
        let folder = File::open(parent)?;
        let mut short = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
        short.extend_from_slice(name.as_bytes());
        (short, Some(folder))
    };
    if bytes.len() > LONGEST_PATH_BYTES {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    for (slot, byte) in address.sun_path.iter_mut().zip(bytes) {
        *slot = byte as libc::c_char;
    }
    Ok((address, folder))
}

fn stream_socket(flags: i32) -> io::Result<OwnedFd> {
    // SAFETY: a new descriptor that nobody else owns.
    unsafe {
        Ok(OwnedFd::from_raw_fd(check(libc::socket(
            libc::AF_UNIX,
            libc::SOCK_STREAM | libc::SOCK_CLOEXEC | flags,
            0,
        ))?))
    }
}

/// Clients that may wait to be taken.
pub const BACKLOG: i32 = 128;

/// Listens, non-blocking, at a socket of mode 0600: bind takes the mode that the descriptor has.
pub fn listen(path: &Path) -> io::Result<OwnedFd> {
    let socket = stream_socket(libc::SOCK_NONBLOCK)?;
    let (address, _folder) = address(path)?;
    // SAFETY: the address lives through the call and its size is its own.
    unsafe {
        check(libc::fchmod(socket.as_raw_fd(), 0o600))?;
        check(libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as u32,
        ))?;
        check(libc::listen(socket.as_raw_fd(), BACKLOG))?;
    }
    Ok(socket)
}

pub fn connect(path: &Path) -> io::Result<OwnedFd> {
    let socket = stream_socket(0)?;
    let (address, _folder) = address(path)?;
    // SAFETY: as above.
    check(unsafe {
        libc::connect(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as u32,
        )
    })?;
    Ok(socket)
}

/// Takes one waiting client, non-blocking; None when nobody waits.
pub fn accept(listener: BorrowedFd) -> Option<OwnedFd> {
    // SAFETY: no address is asked for; a new descriptor that nobody else owns.
    unsafe {
        let fd = libc::accept4(
            listener.as_raw_fd(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
        );
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd))
    }
}

/// Uid of the process at the other end.
pub fn peer_uid(fd: BorrowedFd) -> io::Result<u32> {
    let mut credentials = libc::ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    let mut length = size_of::<libc::ucred>() as u32;
    // SAFETY: the option fills a ucred of that size.
    check(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut length,
        )
    })?;
    Ok(credentials.uid)
}

pub fn read(fd: BorrowedFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the slice bounds the kernel's write.
    let got = unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
    usize::try_from(got).map_err(|_| io::Error::last_os_error())
}

pub fn write(fd: BorrowedFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the slice bounds the kernel's read.
    let put = unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
    usize::try_from(put).map_err(|_| io::Error::last_os_error())
}

/// Most descriptors that one message carries.
pub const MOST_PASSED_FDS: usize = 8;

/// Sends bytes with descriptors; returns how many bytes went.
pub fn send_with_fds(fd: BorrowedFd, bytes: &[u8], passed: &[RawFd]) -> io::Result<usize> {
    if passed.len() > MOST_PASSED_FDS {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut space = [0u64; 16];
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: the control buffer is aligned and larger than CMSG_SPACE of eight ints; all pointers live through the call.
    let put = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        if !passed.is_empty() {
            let payload = size_of_val(passed) as u32;
            message.msg_control = space.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(payload) as usize;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(payload) as usize;
            std::ptr::copy_nonoverlapping(
                passed.as_ptr().cast::<u8>(),
                libc::CMSG_DATA(header),
                payload as usize,
            );
        }
        libc::sendmsg(fd.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL)
    };
    usize::try_from(put).map_err(|_| io::Error::last_os_error())
}

/// True for the errors that mean "not now".
pub fn is_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
