//! Where a redirected connection wanted to go.
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use tokio::net::TcpStream;

/// The kernel knows; tests, which have no redirection, say it themselves.
pub trait OriginalDestination: Send + Sync {
    fn of(&self, stream: &TcpStream) -> io::Result<SocketAddrV4>;
}

pub struct Redirected;

impl OriginalDestination for Redirected {
    fn of(&self, stream: &TcpStream) -> io::Result<SocketAddrV4> {
        // SAFETY: all zero is a valid address of no family.
        let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
        let mut length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes into the address, which lives over the call.
        let result = unsafe {
            libc::getsockopt(
                stream.as_raw_fd(),
                libc::SOL_IP,
                libc::SO_ORIGINAL_DST,
                (&raw mut address).cast(),
                &raw mut length,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
        Ok(SocketAddrV4::new(ip, u16::from_be(address.sin_port)))
    }
}
