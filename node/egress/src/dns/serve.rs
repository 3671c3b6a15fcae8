//! The sockets of the resolver: datagrams and streams, one query at a time under named limits.
use super::message::{Code, Query, TYPE_A, TYPE_AAAA, TYPE_HTTPS, TYPE_SVCB};
use super::resolver::Resolved;
use crate::events::{Event, clean};
use crate::limits::{
    DNS_QUERY_BYTES, DNS_STREAM_IDLE, DNS_STREAM_QUERIES, DNS_STREAMS, DNS_UNDER_WAY, DNS_WILDCARD_BYTES,
};
use crate::policy::Reason;
use crate::policy::decide::Verdict;
use crate::proxy::Proxy;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

pub async fn datagrams(proxy: Arc<Proxy>, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let under_way = Arc::new(Semaphore::new(DNS_UNDER_WAY));
    let mut buffer = vec![0; DNS_QUERY_BYTES + 1];
    loop {
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else {
            // An error of one datagram (a port that closed); the socket itself stays.
            tokio::task::yield_now().await;
            continue;
        };
        let IpAddr::V4(source) = peer.ip() else { continue };
        // Dropped, not queued: a client asks again, and a flood must not hold memory.
        let Ok(permit) = under_way.clone().try_acquire_owned() else {
            continue;
        };
        if length > DNS_QUERY_BYTES {
            continue;
        }
        let (packet, socket, proxy) = (buffer[..length].to_vec(), socket.clone(), proxy.clone());
        tokio::spawn(async move {
            if let Some(reply) = answer(&proxy, source, &packet).await {
                // The peer may be gone; it asks again if it is not.
                let _ = socket.send_to(&reply, peer).await;
            }
            drop(permit);
        });
    }
}

pub async fn streams(proxy: Arc<Proxy>, listener: TcpListener) {
    let open = Arc::new(Semaphore::new(DNS_STREAMS));
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            continue;
        };
        let IpAddr::V4(source) = peer.ip() else { continue };
        let Some(sandbox) = proxy.sandbox(source) else { continue };
        let permits = (
            open.clone().try_acquire_owned(),
            sandbox.dns_streams.clone().try_acquire_owned(),
        );
        let (Ok(permit), Ok(own)) = permits else { continue };
        let proxy = proxy.clone();
        tokio::spawn(async move {
            // A stream ends with its client or a limit: nothing is owed to either.
            let _ = stream_queries(&proxy, source, stream).await;
            drop((permit, own));
        });
    }
}

async fn stream_queries(proxy: &Proxy, source: Ipv4Addr, mut stream: TcpStream) -> std::io::Result<()> {
    for _ in 0..DNS_STREAM_QUERIES {
        let length = usize::from(timeout(DNS_STREAM_IDLE, stream.read_u16()).await??);
        if length > DNS_QUERY_BYTES {
            return Ok(());
        }
        let mut packet = vec![0; length];
        timeout(DNS_STREAM_IDLE, stream.read_exact(&mut packet)).await??;
        let Some(reply) = answer(proxy, source, &packet).await else {
            return Ok(());
        };
        let mut framed = u16::try_from(reply.len()).unwrap_or(0).to_be_bytes().to_vec();
        framed.extend(reply);
        timeout(DNS_STREAM_IDLE, stream.write_all(&framed)).await??;
    }
    Ok(())
}

async fn answer(proxy: &Proxy, source: Ipv4Addr, packet: &[u8]) -> Option<Vec<u8>> {
    let started = Instant::now();
    let query = Query::parse(packet);
    let (code, verdict, addresses, ttl_seconds) = decide(proxy, source, query.as_ref()).await;
    let allowed = matches!(code, Code::NoError | Code::NoName | Code::ServerFailure);
    let mut event = Event::new(
        source,
        "dns",
        if allowed { "allow" } else { "deny" },
        verdict.reason.code(),
    );
    event.rule = verdict.rule;
    event.protocol = Some("dns");
    let name = query.as_ref().and_then(|query| query.name.as_deref());
    event.host = name.map(clean);
    event.address = addresses.first().copied();
    event.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    event.bytes_out = packet.len() as u64;
    proxy.events.add(event);
    query.map(|query| query.answer(code, &addresses, ttl_seconds))
}

type Reply = (Code, Verdict, Vec<Ipv4Addr>, u32);

async fn decide(proxy: &Proxy, source: Ipv4Addr, query: Option<&Query>) -> Reply {
    let refuse = |reason: Reason| (Code::Refused, Verdict { rule: None, reason }, Vec::new(), 0);
    let Some(sandbox) = proxy.sandbox(source) else {
        return refuse(Reason::NoPolicy);
    };
    if !sandbox.dns().admit(Instant::now()) {
        return refuse(Reason::Limit);
    }
    let Ok(_permit) = sandbox.dns_under_way.try_acquire() else {
        return refuse(Reason::Limit);
    };
    let Some(query) = query else {
        return (
            Code::FormatError,
            Verdict {
                rule: None,
                reason: Reason::Unclear,
            },
            Vec::new(),
            0,
        );
    };
    let Some(name) = query.name.as_deref() else {
        return refuse(Reason::Unclear);
    };
    if !proxy.floor().admits_name(name) {
        return refuse(Reason::Floor);
    }
    let (allowed, verdict, free_bytes) = sandbox.rules().policy.resolve(name);
    if !allowed {
        return (Code::Refused, verdict, Vec::new(), 0);
    }
    match query.kind {
        TYPE_A => {}
        // Empty: no IPv6 leaves, and no ECH configuration comes in with HTTPS or SVCB records.
        TYPE_AAAA | TYPE_HTTPS | TYPE_SVCB => return (Code::NoError, verdict, Vec::new(), 0),
        _ => return refuse(Reason::RecordType),
    }
    if free_bytes > DNS_WILDCARD_BYTES || !sandbox.dns().admit_name(name, Instant::now()) {
        return refuse(Reason::Limit);
    }
    match proxy.resolve(&sandbox, name).await {
        Resolved::Addresses { addresses, ttl_seconds } => (Code::NoError, verdict, addresses, ttl_seconds),
        Resolved::NoName => (Code::NoName, verdict, Vec::new(), 0),
        Resolved::Floored => refuse(Reason::Floor),
        Resolved::Failed => (
            Code::ServerFailure,
            Verdict {
                rule: verdict.rule,
                reason: Reason::Upstream,
            },
            Vec::new(),
            0,
        ),
    }
}
