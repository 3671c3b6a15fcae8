//! One session of the link as a byte stream that hyper can serve.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::sync::{Notify, watch};

use super::outbox::Outbox;

/// Received bytes that may wait for hyper; above this the wire is not read.
pub const INBOUND_MAX_BYTES: usize = 262_144;
/// What the queue keeps of its memory when little comes.
const KEPT_BYTES: usize = 16_384;

#[derive(Default)]
pub struct Inbound {
    bytes: VecDeque<u8>,
    /// How many of them belong to frames that arrived whole.
    committed: usize,
    /// The most that waited since nothing did.
    peak: usize,
    closed: bool,
    reader: Option<Waker>,
}

/// The pump's end of a session.
#[derive(Clone, Default)]
pub struct Inlet {
    inbound: Rc<RefCell<Inbound>>,
    pub drained: Rc<Notify>,
    ended: watch::Sender<bool>,
}

impl Inlet {
    pub fn append(&self, bytes: &[u8]) {
        let mut inbound = self.inbound.borrow_mut();
        if !inbound.closed {
            inbound.bytes.extend(bytes);
            inbound.peak = inbound.peak.max(inbound.bytes.len());
        }
    }

    pub fn commit(&self) {
        let mut inbound = self.inbound.borrow_mut();
        inbound.committed = inbound.bytes.len();
        wake(&mut inbound);
    }

    pub fn spoil(&self) {
        let mut inbound = self.inbound.borrow_mut();
        let committed = inbound.committed;
        inbound.bytes.truncate(committed);
    }

    pub fn close(&self) {
        let mut inbound = self.inbound.borrow_mut();
        inbound.closed = true;
        inbound.bytes = VecDeque::new();
        inbound.committed = 0;
        wake(&mut inbound);
        self.ended.send_replace(true);
    }

    /// Nobody reads any more: what still comes is dropped, and the pump must not wait for room. Says
    /// nothing to those who wait for the end: this runs where they may hold their lock.
    fn discard(&self) {
        let mut inbound = self.inbound.borrow_mut();
        inbound.closed = true;
        inbound.bytes = VecDeque::new();
        inbound.committed = 0;
        self.drained.notify_one();
    }

    pub fn is_full(&self) -> bool {
        self.inbound.borrow().committed >= INBOUND_MAX_BYTES
    }
}

fn wake(inbound: &mut Inbound) {
    if let Some(reader) = inbound.reader.take() {
        reader.wake();
    }
}

/// hyper's end of a session.
pub struct Session {
    inlet: Inlet,
    outbox: Rc<RefCell<Outbox>>,
}

impl Session {
    pub fn new(inlet: Inlet, outbox: Rc<RefCell<Outbox>>) -> Self {
        Self { inlet, outbox }
    }

    /// Resolves when the link has ended this session.
    pub fn ended(&self) -> watch::Receiver<bool> {
        self.inlet.ended.subscribe()
    }

    fn is_closed(&self) -> bool {
        self.inlet.inbound.borrow().closed
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.inlet.discard();
    }
}

impl Read for Session {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inbound = self.inlet.inbound.borrow_mut();
        if inbound.closed {
            return Poll::Ready(Ok(()));
        }
        if inbound.committed == 0 {
            inbound.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let (front, _) = inbound.bytes.as_slices();
        let take = front.len().min(inbound.committed).min(buffer.remaining());
        buffer.put_slice(&front[..take]);
        inbound.bytes.drain(..take);
        inbound.committed -= take;
        if inbound.bytes.is_empty() {
            // Not in the middle of a transfer, which would fault the pages in anew each time.
            let keep = KEPT_BYTES.max(std::mem::take(&mut inbound.peak));
            if inbound.bytes.capacity() > 4 * keep {
                inbound.bytes.shrink_to(keep);
            }
        }
        self.inlet.drained.notify_one();
        Poll::Ready(Ok(()))
    }
}

impl Write for Session {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_closed() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.outbox.borrow_mut().poll_data(context, &[IoSlice::new(data)])
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_closed() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.outbox.borrow_mut().poll_data(context, parts)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_closed() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.outbox.borrow_mut().poll_session_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}
