//! The writing side of the wire: one frame at a time, whole once begun unless a new session begins.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::unix::AsyncFd;

use super::frame::{FRAME_MAX_BYTES, data_header};
use crate::kernel::descriptor;

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

    /// Writes one DATA frame with a prefix of `data`; what the wire does not take now is kept.
    pub fn poll_data(&mut self, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_session_flush(context))?;
        let data = &data[..data.len().min(FRAME_MAX_BYTES)];
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let header = data_header(data.len());
        loop {
            let ready = self.fd.poll_write_ready(context);
            if ready.is_pending() {
                self.writer = Some(context.waker().clone());
            }
            let mut guard = ready!(ready)?;
            let parts = [IoSlice::new(&header), IoSlice::new(data)];
            let Ok(written) = guard.try_io(|fd| descriptor::write_vectored(fd.as_raw_fd(), &parts))
            else {
                continue;
            };
            let written = written?;
            self.pending.extend_from_slice(header.get(written..).unwrap_or_default());
            self.pending.extend_from_slice(&data[written.saturating_sub(header.len())..]);
            return Poll::Ready(Ok(data.len()));
        }
    }
}
