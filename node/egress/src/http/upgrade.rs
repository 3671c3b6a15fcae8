//! A WebSocket: after the switch bytes pass both ways; towards the sandbox they are scrubbed.
use super::body::{Body, whole};
use super::fields::remove_hop_fields;
use super::forward::Outgoing;
use super::tracked::Record;
use crate::limits::{RELAY_BUFFER_BYTES, RELAY_IDLE};
use crate::secrets::rewriter::Rewriter;
use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Response, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Answers the client's request and joins both ends behind it.
pub fn join(
    outgoing: Outgoing,
    client: OnUpgrade,
    mut response: Response<Incoming>,
    mut record: Record,
) -> Response<Body> {
    let upstream = hyper::upgrade::on(&mut response);
    let (mut parts, _) = response.into_parts();
    remove_hop_fields(&mut parts.headers, false);
    let scrubber = outgoing.scrubber(&mut parts.headers);
    parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    parts.version = Version::HTTP_11;
    record.event.status = Some(101);
    let opened = crate::events::Event {
        action: "open",
        ..record.event.clone()
    };
    outgoing.exchange.proxy.events.add(opened);
    let exchange = outgoing.exchange;
    tokio::spawn(async move {
        let token = exchange.registered.entry.token.clone();
        let received = AtomicU64::new(0);
        let joined = async {
            let (client, upstream) = tokio::try_join!(client, upstream).map_err(io::Error::other)?;
            let (from_client, to_client) = tokio::io::split(TokioIo::new(client));
            let (from_upstream, to_upstream) = tokio::io::split(TokioIo::new(upstream));
            tokio::try_join!(
                copy(from_client, to_upstream, None, &record.sent),
                copy(from_upstream, to_client, scrubber, &received),
            )
        };
        tokio::select! {
            () = token.cancelled() => {
                record.event.action = "cut";
                record.event.reason = crate::policy::Reason::PolicyChanged.code();
            }
            // A broken socket is an end like another: the bytes that passed are in the event.
            _ = joined => {}
        }
        record.event.bytes_in = received.load(Ordering::Relaxed);
        drop(record);
        // The connection counts as open until here, so that a changed policy finds it.
        drop(exchange);
    });
    Response::from_parts(parts, whole(Bytes::new()))
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut scrubber: Option<Rewriter>,
    counter: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; RELAY_BUFFER_BYTES];
    loop {
        let length = timeout(RELAY_IDLE, from.read(&mut buffer)).await??;
        counter.fetch_add(length as u64, Ordering::Relaxed);
        match &mut scrubber {
            None => to.write_all(&buffer[..length]).await?,
            Some(scrubber) if length > 0 => {
                let clean = scrubber.push(Bytes::copy_from_slice(&buffer[..length]));
                to.write_all(&clean).await?;
            }
            Some(scrubber) => to.write_all(&scrubber.finish()).await?,
        }
        to.flush().await?;
        if length == 0 {
            return to.shutdown().await;
        }
    }
}
