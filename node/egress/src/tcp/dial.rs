//! Connections out, from the host's own namespace, and only to what the floor admits at this moment.
use crate::dns::resolver::Resolved;
use crate::limits::{DIAL_ADDRESSES, DIAL_WAIT};
use crate::policy::Reason;
use crate::proxy::Proxy;
use crate::sandboxes::Sandbox;
use socket2::{SockRef, TcpKeepalive};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

impl Proxy {
    /// Resolves and dials a name that was allowed; `preferred` is where the sandbox itself wanted to go.
    pub async fn dial_name(
        &self,
        sandbox: &Sandbox,
        name: &str,
        port: u16,
        preferred: Ipv4Addr,
    ) -> Result<(TcpStream, Ipv4Addr), Reason> {
        if !self.floor().admits_name(name) {
            return Err(Reason::Floor);
        }
        let mut addresses = match self.resolve(sandbox, name).await {
            Resolved::Addresses { addresses, .. } => addresses,
            Resolved::Floored => return Err(Reason::Floor),
            Resolved::NoName | Resolved::Failed => return Err(Reason::Upstream),
        };
        if let Some(index) = addresses.iter().position(|address| *address == preferred) {
            addresses.swap(0, index);
        }
        let mut reason = Reason::Upstream;
        for address in addresses.into_iter().take(DIAL_ADDRESSES) {
            match self.dial_address(address, port).await {
                Ok(stream) => return Ok((stream, address)),
                Err(other) => reason = other,
            }
        }
        Err(reason)
    }

    pub async fn dial_address(&self, address: Ipv4Addr, port: u16) -> Result<TcpStream, Reason> {
        if !self.floor().admits(address.into(), port) {
            return Err(Reason::Floor);
        }
        let connecting = TcpStream::connect(SocketAddrV4::new(address, port));
        match timeout(DIAL_WAIT, connecting).await {
            Ok(Ok(stream)) => {
                tune(&stream);
                Ok(stream)
            }
            _ => Err(Reason::Upstream),
        }
    }
}

/// Small writes go at once, and a peer that vanished is noticed.
pub fn tune(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(20));
    let socket = SockRef::from(stream);
    // A connection works without either; a socket that refuses them is already broken and says so on first use.
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(&keepalive);
}

/// The end of this stream is a reset.
pub fn reset(stream: TcpStream) {
    // Where it fails the peer gets an orderly end instead: it is closed either way.
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    drop(stream);
}
