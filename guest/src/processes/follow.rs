//! The output stream: frames of the log from an offset, with gaps, heartbeats and the end.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::process::Process;
use super::ring::{PIECE_MAX_BYTES, Piece, Stream};
use crate::http::body::Sender;

const HEADER_BYTES: usize = 16;
const ARGUMENT_SHOWN_MAX: usize = 4_096;
const EVENT: u8 = 3;
const HEARTBEAT: u8 = 4;
const HEARTBEAT_AFTER: Duration = Duration::from_secs(5);

/// A reader that the process waits for, as long as it moves.
pub struct Follower {
    pub position: Cell<u64>,
    /// By the clock of running.
    pub took_at: Cell<Duration>,
    pub evicted: Cell<bool>,
}

/// Keeps a follower registered while its stream lives.
pub struct Registration {
    process: Rc<Process>,
    pub follower: Rc<Follower>,
}

impl Registration {
    pub fn new(process: Rc<Process>, position: u64) -> Self {
        let follower = Rc::new(Follower {
            position: Cell::new(position),
            took_at: Cell::new(process.clock.now()),
            evicted: Cell::new(false),
        });
        process.followers.borrow_mut().push(follower.clone());
        Self { process, follower }
    }

    fn moved(&self, position: u64) {
        self.follower.position.set(position);
        self.follower.took_at.set(self.process.clock.now());
        self.process.room.notify_waiters();
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.process.followers.borrow_mut().retain(|known| !Rc::ptr_eq(known, &self.follower));
        self.process.room.notify_waiters();
    }
}

/// Sends the log from the follower's position until the end of the process.
pub async fn follow(sender: Sender, registration: Registration, greet: bool) -> io::Result<()> {
    let process = registration.process.clone();
    let follower = registration.follower.clone();
    let mut offset = follower.position.get();
    if greet {
        sender.send(event_frame(offset, &started(&process))).await;
    }
    loop {
        let changed = process.changed.notified();
        if follower.evicted.get() {
            let event = json!({ "type": "evicted", "reason": "stalled", "offset": offset });
            sender.send(event_frame(offset, &event)).await;
            return Ok(());
        }
        if send_piece(&sender, &process, &mut offset, u64::MAX).await {
            registration.moved(offset);
            continue;
        }
        let exit = process.exit.borrow().clone();
        if let Some(exit) = exit {
            let event = json!({ "type": "exit", "exit": exit });
            sender.send(event_frame(offset, &event)).await;
            return Ok(());
        }
        if timeout(HEARTBEAT_AFTER, changed).await.is_err() {
            sender.send(frame(HEARTBEAT, offset, &[])).await;
        }
    }
}

/// The record; one whose argv would burst a frame tells only the first string of it.
fn started(process: &Process) -> Value {
    let mut event = json!({ "type": "started", "process": process.to_json() });
    if event.to_string().len() > PIECE_MAX_BYTES {
        let first: String = process.request.argv[0].chars().take(ARGUMENT_SHOWN_MAX).collect();
        event["process"]["argv"] = json!([first]);
    }
    event
}

/// Sends what the log holds now from `offset` on, and ends.
pub async fn copy(sender: Sender, process: Rc<Process>, mut offset: u64) -> io::Result<()> {
    let until = process.log.borrow().end();
    while offset < until && send_piece(&sender, &process, &mut offset, until).await {}
    Ok(())
}

/// Sends the next piece or gap and moves the offset; false when there is nothing.
async fn send_piece(sender: &Sender, process: &Process, offset: &mut u64, until: u64) -> bool {
    let piece = process.log.borrow().read(*offset);
    match piece {
        Piece::End => return false,
        Piece::Gap { to } => {
            let event = json!({ "type": "gap", "from": *offset, "to": to });
            sender.send(event_frame(*offset, &event)).await;
            *offset = to;
        }
        Piece::Bytes { stream, mut bytes } => {
            bytes.truncate((until - *offset).min(bytes.len() as u64) as usize);
            sender.send(frame(kind(stream), *offset, &bytes)).await;
            *offset += bytes.len() as u64;
        }
    }
    true
}

fn kind(stream: Stream) -> u8 {
    stream as u8
}

fn event_frame(offset: u64, event: &Value) -> Vec<u8> {
    frame(EVENT, offset, event.to_string().as_bytes())
}

fn frame(kind: u8, offset: u64, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER_BYTES + payload.len());
    frame.extend_from_slice(&[kind, 0, 0, 0]);
    frame.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    frame.extend_from_slice(&offset.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}
