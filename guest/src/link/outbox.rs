//! The writing side of the wire: one frame at a time, whole once begun unless a new session begins.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::unix::AsyncFd;

use super::frame::{FRAME_MAX_BYTES, HEADER_BYTES, data_header};
use crate::kernel::descriptor;

/// Frames that go out in one call: a call costs more in gVisor than the bytes that it carries.
const FRAMES_PER_WRITE: usize = 8;

pub struct Outbox {
    fd: AsyncFd<OwnedFd>,
    pending: Vec<u8>,
    sent: usize,
    /// The session that waits to write: the descriptor remembers only its last waiter.
    writer: Option<Waker>,
}

impl Outbox {
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { fd: descriptor::watched(fd)?, pending: Vec::new(), sent: 0, writer: None })
    }

    /// Forgets what an old session left half-written: the host drops everything up to OPENED.
    pub fn abandon(&mut self) {
        self.pending.clear();
        self.sent = 0;
    }

    /// Puts a control frame behind what is still to be written.
    pub fn push(&mut self, frame: &[u8]) {
        self.pending.extend_from_slice(frame);
    }

    /// Flushes on behalf of the pump, then lets the session write on.
    pub fn poll_control(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.pending.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let flushed = ready!(self.poll_flush(context));
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
        Poll::Ready(flushed)
    }

    /// What a session calls: as `poll_flush`, and remembers who waits.
    pub fn poll_session_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.poll_flush(context);
        if flushed.is_pending() {
            self.writer = Some(context.waker().clone());
        }
        flushed
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.pending.len() {
            let mut guard = ready!(self.fd.poll_write_ready(context))?;
            let rest = &self.pending[self.sent..];
            match guard.try_io(|fd| descriptor::write(fd.as_raw_fd(), rest)) {
                Ok(written) => self.sent += written?,
                Err(_) => continue,
            }
        }
        self.pending.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Writes DATA frames with a prefix of what `parts` hold together. A frame that the wire took a
    /// part of is kept until it has taken the rest; one that it took nothing of is not begun.
    pub fn poll_data(
        &mut self,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_session_flush(context))?;
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        let length = length.min(FRAMES_PER_WRITE * FRAME_MAX_BYTES);
        if length == 0 {
            return Poll::Ready(Ok(0));
        }
        let mut headers = [[0; HEADER_BYTES]; FRAMES_PER_WRITE];
        for (index, header) in headers.iter_mut().enumerate() {
            *header =
                data_header(length.saturating_sub(index * FRAME_MAX_BYTES).min(FRAME_MAX_BYTES));
        }
        let wire = framed(&headers, parts, length);
        loop {
            let ready = self.fd.poll_write_ready(context);
            if ready.is_pending() {
                self.writer = Some(context.waker().clone());
            }
            let mut guard = ready!(ready)?;
            let Ok(written) = guard.try_io(|fd| descriptor::write_vectored(fd.as_raw_fd(), &wire))
            else {
                continue;
            };
            let written = written?;
            let begun = written.div_ceil(HEADER_BYTES + FRAME_MAX_BYTES);
            let taken = length.min(begun * FRAME_MAX_BYTES);
            self.keep(&wire, written, taken + begun * HEADER_BYTES);
            return Poll::Ready(Ok(taken));
        }
    }

    /// Keeps the bytes of the wire from `from` to `to`.
    fn keep(&mut self, wire: &[IoSlice<'_>], from: usize, to: usize) {
        let mut at = 0;
        for part in wire {
            let end = at + part.len();
            if from < end && at < to {
                let piece = &part[from.max(at) - at..to.min(end) - at];
                self.pending.extend_from_slice(piece);
            }
            at = end;
        }
    }
}

/// The first `length` bytes of `parts` as frames.
fn framed<'a>(
    headers: &'a [[u8; HEADER_BYTES]],
    parts: &'a [IoSlice<'_>],
    length: usize,
) -> Vec<IoSlice<'a>> {
    let mut wire = Vec::with_capacity(2 * headers.len() + parts.len());
    let mut parts = parts.iter().map(|part| &part[..]);
    let mut rest: &[u8] = &[];
    let mut at = 0;
    while at < length {
        let in_frame = at % FRAME_MAX_BYTES;
        if in_frame == 0 {
            wire.push(IoSlice::new(&headers[at / FRAME_MAX_BYTES]));
        }
        while rest.is_empty() {
            rest = parts.next().unwrap_or_default();
        }
        let take = rest.len().min(FRAME_MAX_BYTES - in_frame).min(length - at);
        wire.push(IoSlice::new(&rest[..take]));
        rest = &rest[take..];
        at += take;
    }
    wire
}

#[cfg(test)]
#[path = "outbox_test.rs"]
mod tests;
