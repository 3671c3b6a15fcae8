//! Moves a process's output into its log, no faster than its followers take it.

use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use super::process::Process;
use super::ring::{RING_MIN_BYTES, Stream};
use super::terminal::Terminal;
use crate::agent::Agent;
use crate::kernel::descriptor;

const READ_MAX_BYTES: usize = 65_536;
/// A follower that took nothing for this long while the ring is full is let go.
const STALL_MAX: Duration = Duration::from_secs(10);

/// Where output comes from.
pub enum Source {
    Pipe(Stream, AsyncFd<OwnedFd>),
    Terminal(Rc<Terminal>),
}

impl Source {
    fn stream(&self) -> Stream {
        match self {
            Self::Pipe(stream, _) => *stream,
            Self::Terminal(_) => Stream::Stdout,
        }
    }

    fn fd(&self) -> &AsyncFd<OwnedFd> {
        match self {
            Self::Pipe(_, fd) => fd,
            Self::Terminal(terminal) => &terminal.master,
        }
    }
}

enum Read {
    Some(usize),
    Nothing,
    Ended,
}

/// Reads until all sources have ended. `ended` is called once everything that was written before
/// `finish` turned true is in the log; a survivor that holds the pipe is read on after it.
pub async fn collect(
    agent: Rc<Agent>,
    process: Rc<Process>,
    mut sources: Vec<Source>,
    mut finish: watch::Receiver<bool>,
    ended: impl FnOnce(),
) {
    let mut ended = Some(ended);
    let mut buffer = vec![0; 4_096];
    while !sources.is_empty() {
        let space = wait_for_room(&process).await;
        let finishing = *finish.borrow();
        let mut read_any = false;
        let mut index = 0;
        while index < sources.len() {
            let limit = space.min(buffer.len());
            match read(&sources[index], &mut buffer[..limit]) {
                Read::Some(count) => {
                    record(&agent, &process, sources[index].stream(), &buffer[..count]);
                    read_any = true;
                    if count == buffer.len() && count < READ_MAX_BYTES {
                        buffer.resize(count * 4, 0);
                    }
                    break;
                }
                Read::Nothing => index += 1,
                Read::Ended => drop(sources.swap_remove(index)),
            }
        }
        if read_any {
            // One busy process must not keep the others from their turn.
            tokio::task::yield_now().await;
            continue;
        }
        if finishing && let Some(ended) = ended.take() {
            ended();
        }
        if !sources.is_empty() {
            wait_readable(&sources, &mut finish).await;
        }
    }
    if finish.wait_for(|finish| *finish).await.is_ok()
        && let Some(ended) = ended.take()
    {
        ended();
    }
}

/// Waits until the slowest follower leaves room in the ring, and gives how much.
async fn wait_for_room(process: &Process) -> usize {
    let clock = &process.clock;
    let full_since = clock.now();
    loop {
        let room = process.room.notified();
        let slowest =
            process.followers.borrow().iter().min_by_key(|known| known.position.get()).cloned();
        let Some(slowest) = slowest else {
            return READ_MAX_BYTES;
        };
        let (end, limit) = {
            let log = process.log.borrow();
            (log.end(), log.limit() as u64)
        };
        let behind = end.saturating_sub(slowest.position.get());
        if behind < limit {
            return ((limit - behind) as usize).min(READ_MAX_BYTES);
        }
        let deadline = slowest.took_at.get().max(full_since) + STALL_MAX;
        let stalled = tokio::select! {
            biased;
            () = room => false,
            () = clock.sleep_until(deadline) => true,
        };
        if stalled && slowest.took_at.get() + STALL_MAX <= clock.now() {
            slowest.evicted.set(true);
            process.followers.borrow_mut().retain(|known| !Rc::ptr_eq(known, &slowest));
            process.changed.notify_waiters();
        }
    }
}

fn record(agent: &Agent, process: &Process, stream: Stream, bytes: &[u8]) {
    let before = process.log.borrow().held();
    let may_grow = agent.processes.make_room(bytes.len());
    let mut log = process.log.borrow_mut();
    if !may_grow && log.limit() > RING_MIN_BYTES {
        log.stop_growing();
    }
    log.push(stream, bytes);
    agent.processes.resize_logs(before, log.held());
    drop(log);
    process.changed.notify_waiters();
}

fn read(source: &Source, buffer: &mut [u8]) -> Read {
    match descriptor::read(source.fd().as_raw_fd(), buffer) {
        Ok(0) => Read::Ended,
        Ok(count) => Read::Some(count),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Read::Nothing,
        // EIO: the last holder of a terminal has closed it.
        Err(_) => Read::Ended,
    }
}

/// Waits until a source may have something or the process is to be finished. Readiness is cleared
/// here only by a read that would block, so that none is lost.
async fn wait_readable(sources: &[Source], finish: &mut watch::Receiver<bool>) {
    let already = *finish.borrow();
    let first = readable(sources.first());
    let second = readable(sources.get(1));
    tokio::select! {
        () = first => {}
        () = second => {}
        changed = finish.changed(), if !already => {
            if changed.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

async fn readable(source: Option<&Source>) {
    let Some(source) = source else {
        return std::future::pending().await;
    };
    loop {
        let Ok(mut guard) = source.fd().readable().await else {
            return;
        };
        if poll_input(source.fd().as_raw_fd()) {
            return;
        }
        guard.clear_ready();
        // Something may have come between the look and the clearing.
        if poll_input(source.fd().as_raw_fd()) {
            return;
        }
    }
}

fn poll_input(fd: i32) -> bool {
    let mut entry = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    unsafe { libc::poll(&mut entry, 1, 0) > 0 }
}
