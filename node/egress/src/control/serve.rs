//! The control socket: one JSON object a line, one answer a line; only the given user may speak.
use super::apply::{Answer, Refused, invalid};
use super::command::Command;
use super::descriptors::receive;
use crate::limits::{CONTROL_CONNECTIONS, CONTROL_DESCRIPTORS, CONTROL_LINE_BYTES};
use crate::proxy::Proxy;
use serde_json::{Value, json};
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

pub async fn control(proxy: Arc<Proxy>, listener: UnixListener, peer_uid: u32) {
    let open = Arc::new(Semaphore::new(CONTROL_CONNECTIONS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let known = stream.peer_cred().is_ok_and(|peer| peer.uid() == peer_uid);
        let Ok(permit) = open.clone().try_acquire_owned() else {
            continue;
        };
        if !known {
            continue;
        }
        let proxy = proxy.clone();
        tokio::spawn(async move {
            // The node went away, or broke the protocol: what it set stays in force.
            let _ = converse(&proxy, stream).await;
            drop(permit);
        });
    }
}

async fn converse(proxy: &Arc<Proxy>, mut stream: UnixStream) -> io::Result<()> {
    let mut descriptors = Vec::new();
    // Wiped: secrets and keys come in over it.
    let mut pending = Zeroizing::new(Vec::new());
    let mut buffer = Zeroizing::new(vec![0; 64 * 1024]);
    loop {
        let length = receive(&stream, &mut buffer, &mut descriptors).await?;
        if length == 0 {
            return Ok(());
        }
        if descriptors.len() > CONTROL_DESCRIPTORS {
            return Err(io::Error::other("too many descriptors"));
        }
        append(&mut pending, &buffer[..length]);
        while let Some(end) = memchr::memchr(b'\n', &pending) {
            let line = Zeroizing::new(pending[..end].to_vec());
            pending.drain(..=end);
            match serde_json::from_slice::<Command>(&line) {
                Ok(Command::Events {
                    after,
                    address,
                    follow: true,
                }) => {
                    return follow(proxy, stream, after, address).await;
                }
                Ok(Command::Events {
                    after,
                    address,
                    follow: false,
                }) => {
                    answer(&mut stream, Ok(batch(proxy, after, address).1)).await?;
                }
                Ok(command) => answer(&mut stream, proxy.apply(command, &mut descriptors).await).await?,
                Err(error) => answer(&mut stream, Err(unreadable(&error))).await?,
            }
        }
        if pending.len() > CONTROL_LINE_BYTES {
            let message = format!("a line has up to {CONTROL_LINE_BYTES} bytes");
            return answer(&mut stream, Err(invalid(message))).await;
        }
    }
}

/// Grows by a new buffer, so that no copy of a secret stays behind in a freed one.
fn append(pending: &mut Zeroizing<Vec<u8>>, bytes: &[u8]) {
    if pending.capacity() - pending.len() < bytes.len() {
        let mut larger = Zeroizing::new(Vec::with_capacity((pending.len() + bytes.len()) * 2));
        larger.extend_from_slice(pending);
        *pending = larger;
    }
    pending.extend_from_slice(bytes);
}

/// By place only: serde's text quotes the values that it could not use, and a secret is one (invariant 7).
fn unreadable(error: &serde_json::Error) -> Refused {
    let text = error.to_string();
    let known = ["missing field", "unknown field", "unknown variant"]
        .iter()
        .any(|start| text.starts_with(start));
    let what = if known {
        text
    } else {
        format!("it does not fit at column {}", error.column())
    };
    invalid(format!("cannot read the request: {what}"))
}

async fn answer(stream: &mut UnixStream, answer: Answer) -> io::Result<()> {
    let value = match answer {
        Ok(mut value) => {
            value["ok"] = true.into();
            value
        }
        Err(Refused { code, message }) => json!({ "ok": false, "code": code, "message": message }),
    };
    stream.write_all(format!("{value}\n").as_bytes()).await
}

fn batch(proxy: &Proxy, after: u64, address: Option<Ipv4Addr>) -> (u64, Value) {
    let batch = proxy.events.after(after, address);
    let events: Vec<Value> = batch.events.iter().map(|event| json!(**event)).collect();
    let value = json!({ "events": events, "next": batch.next, "missed": batch.missed, "instance": proxy.instance });
    (batch.next, value)
}

/// Batches as they come, until the reader goes.
async fn follow(proxy: &Proxy, mut stream: UnixStream, mut after: u64, address: Option<Ipv4Addr>) -> io::Result<()> {
    loop {
        let (next, value) = batch(proxy, after, address);
        let has_events = value["events"].as_array().is_some_and(|events| !events.is_empty());
        if has_events || value["missed"] != 0 {
            answer(&mut stream, Ok(value)).await?;
        }
        after = next;
        tokio::select! {
            () = proxy.events.wait(after) => {}
            // Nothing is read from a follower: its end is what wakes this.
            ready = stream.readable() => {
                ready?;
                let mut byte = [0];
                match stream.try_read(&mut byte) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    _ => return Ok(()),
                }
            }
        }
    }
}
