//! The listener of redirected connections. Who has no policy is reset before a byte is read.
use super::connection::Connection;
use super::dial::{reset, tune};
use crate::events::Event;
use crate::limits::TOTAL_CONNECTIONS;
use crate::policy::Reason;
use crate::proxy::Proxy;
use crate::sandboxes::live::Live;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

pub async fn connections(proxy: Arc<Proxy>, listener: TcpListener) {
    let open = Arc::new(Semaphore::new(TOTAL_CONNECTIONS));
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(_) => {
                // Out of descriptors, or a client that is already gone.
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        let IpAddr::V4(source) = peer.ip() else { continue };
        let Ok(permit) = open.clone().try_acquire_owned() else {
            refuse(&proxy, source, stream, Reason::Limit);
            continue;
        };
        let proxy = proxy.clone();
        tokio::spawn(async move {
            begin(&proxy, source, stream).await;
            drop(permit);
        });
    }
}

async fn begin(proxy: &Arc<Proxy>, source: Ipv4Addr, stream: TcpStream) {
    let Some(sandbox) = proxy.sandbox(source) else {
        return refuse(proxy, source, stream, Reason::NoPolicy);
    };
    let Ok(to) = proxy.original.of(&stream) else {
        return refuse(proxy, source, stream, Reason::Unclear);
    };
    // Straight at the listener, not redirected: there is no destination.
    if stream.local_addr().is_ok_and(|own| own == to.into()) {
        return refuse(proxy, source, stream, Reason::Unclear);
    }
    let Some(registered) = Live::register(&sandbox, to) else {
        return refuse(proxy, source, stream, Reason::Limit);
    };
    tune(&stream);
    let connection = Connection {
        proxy: proxy.clone(),
        sandbox,
        registered: Arc::new(registered),
        meter: Arc::default(),
        started: Instant::now(),
    };
    connection.handle(stream).await;
}

fn refuse(proxy: &Proxy, source: Ipv4Addr, stream: TcpStream, reason: Reason) {
    let mut event = Event::new(source, "connection", "deny", reason.code());
    event.protocol = Some("tcp");
    proxy.events.add(event);
    reset(stream);
}
