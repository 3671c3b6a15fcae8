//! Unix sockets in the abstract namespace, with descriptors and the sender's ids beside the bytes.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::descriptor::retry;

const BACKLOG: i32 = 16;
/// Room for a few descriptors and one set of ids, with headers; the kernel drops more.
const CONTROL_WORDS: usize = 16;

/// What came with the first bytes of a connection.
pub struct Received {
    pub count: usize,
    pub descriptors: Vec<OwnedFd>,
    /// As the kernel vouches. gVisor's SO_PEERCRED tells the asker's own ids, so it is not used.
    pub sender: Option<libc::ucred>,
}

/// Listens at an abstract name: no file that root inside could remove or that a snapshot keeps.
pub fn listen(name: &[u8]) -> io::Result<OwnedFd> {
    let socket = open(libc::SOCK_NONBLOCK)?;
    let (address, length) = address(name);
    let fd = socket.as_raw_fd();
    retry(|| unsafe { libc::bind(fd, (&raw const address).cast(), length) as isize })?;
    retry(|| unsafe { libc::listen(fd, BACKLOG) as isize })?;
    Ok(socket)
}

pub fn connect(name: &[u8]) -> io::Result<OwnedFd> {
    let socket = open(0)?;
    let (address, length) = address(name);
    let fd = socket.as_raw_fd();
    retry(|| unsafe { libc::connect(fd, (&raw const address).cast(), length) as isize })?;
    Ok(socket)
}

/// Takes a connection that will tell who sends.
pub fn accept(listener: RawFd) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let (address, length) = (std::ptr::null_mut(), std::ptr::null_mut());
    let fd = retry(|| unsafe { libc::accept4(listener, address, length, flags) as isize })?;
    let socket = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
    let on: libc::c_int = 1;
    let (fd, length) = (socket.as_raw_fd(), size_of::<libc::c_int>() as libc::socklen_t);
    retry(|| unsafe {
        let option = (&raw const on).cast();
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_PASSCRED, option, length) as isize
    })?;
    Ok(socket)
}

pub fn receive(socket: RawFd, buffer: &mut [u8]) -> io::Result<Received> {
    let mut control = [0_u64; CONTROL_WORDS];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    let flags = libc::MSG_CMSG_CLOEXEC;
    let count = retry(|| unsafe { libc::recvmsg(socket, &raw mut message, flags) })?;
    let mut received = Received { count, descriptors: Vec::new(), sender: None };
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&message);
        while !header.is_null() {
            let data = libc::CMSG_DATA(header);
            let length = (*header).cmsg_len.saturating_sub(libc::CMSG_LEN(0) as usize);
            match ((*header).cmsg_level, (*header).cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    for index in 0..length / size_of::<RawFd>() {
                        let fd = data.cast::<RawFd>().add(index).read_unaligned();
                        received.descriptors.push(OwnedFd::from_raw_fd(fd));
                    }
                }
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if length >= size_of::<libc::ucred>() => {
                    received.sender = Some(data.cast::<libc::ucred>().read_unaligned());
                }
                _ => {}
            }
            header = libc::CMSG_NXTHDR(&message, header);
        }
    }
    Ok(received)
}

/// Sends bytes with descriptors and the caller's own ids.
pub fn send(socket: RawFd, bytes: &[u8], descriptors: &[RawFd]) -> io::Result<usize> {
    let ids =
        unsafe { libc::ucred { pid: libc::getpid(), uid: libc::geteuid(), gid: libc::getegid() } };
    let mut control = [0_u64; CONTROL_WORDS];
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    let rights = (size_of_val(descriptors)) as u32;
    let ids_length = size_of::<libc::ucred>() as u32;
    unsafe {
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = (libc::CMSG_SPACE(rights) + libc::CMSG_SPACE(ids_length)) as usize;
        assert!(message.msg_controllen <= size_of_val(&control), "room for the descriptors");
        let first = libc::CMSG_FIRSTHDR(&message);
        (*first).cmsg_level = libc::SOL_SOCKET;
        (*first).cmsg_type = libc::SCM_RIGHTS;
        (*first).cmsg_len = libc::CMSG_LEN(rights) as usize;
        let data = libc::CMSG_DATA(first).cast::<RawFd>();
        std::ptr::copy_nonoverlapping(descriptors.as_ptr(), data, descriptors.len());
        let second = libc::CMSG_NXTHDR(&message, first);
        (*second).cmsg_level = libc::SOL_SOCKET;
        (*second).cmsg_type = libc::SCM_CREDENTIALS;
        (*second).cmsg_len = libc::CMSG_LEN(ids_length) as usize;
        libc::CMSG_DATA(second).cast::<libc::ucred>().write_unaligned(ids);
        retry(|| libc::sendmsg(socket, &raw const message, libc::MSG_NOSIGNAL))
    }
}

fn open(flags: i32) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | flags;
    let fd = retry(|| unsafe { libc::socket(libc::AF_UNIX, kind, 0) as isize })?;
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

fn address(name: &[u8]) -> (libc::sockaddr_un, libc::socklen_t) {
    let mut address: libc::sockaddr_un = unsafe { zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    // The first byte stays NUL: that makes the name an abstract one.
    for (target, byte) in address.sun_path[1..].iter_mut().zip(name) {
        *target = *byte as libc::c_char;
    }
    let length = std::mem::offset_of!(libc::sockaddr_un, sun_path) + 1 + name.len();
    (address, length as libc::socklen_t)
}
