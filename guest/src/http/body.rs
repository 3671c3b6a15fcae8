//! Response bodies: whole, or made by a future that runs only while somebody reads.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

type Producer = Pin<Box<dyn Future<Output = io::Result<()>>>>;

pub enum ResponseBody {
    Whole(Option<Bytes>),
    Streamed { producer: Option<Producer>, slot: Slot, size: Option<u64> },
}

type Slot = Rc<RefCell<Option<Bytes>>>;

/// The producer's end: room for one piece, so a slow reader stops the producer.
pub struct Sender {
    slot: Slot,
}

impl Sender {
    pub async fn send(&self, bytes: impl Into<Bytes>) {
        *self.slot.borrow_mut() = Some(bytes.into());
        // The body polls the producer again only after the slot was emptied.
        poll_fn(|_| match *self.slot.borrow() {
            Some(_) => Poll::Pending,
            None => Poll::Ready(()),
        })
        .await;
    }
}

impl ResponseBody {
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::Whole((!bytes.is_empty()).then_some(bytes))
    }

    /// A body that `produce` writes; dropping the body drops the future. An error breaks the
    /// stream, so that nobody takes the part for the whole.
    pub fn streamed<F>(size: Option<u64>, produce: impl FnOnce(Sender) -> F) -> Self
    where
        F: Future<Output = io::Result<()>> + 'static,
    {
        let slot = Slot::default();
        let producer = produce(Sender { slot: slot.clone() });
        Self::Streamed { producer: Some(Box::pin(producer)), slot, size }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Streamed { producer, slot, .. } => {
                let ended = match producer {
                    None => Some(Ok(())),
                    Some(future) => match future.as_mut().poll(context) {
                        Poll::Pending => None,
                        Poll::Ready(result) => {
                            *producer = None;
                            Some(result)
                        }
                    },
                };
                if let Some(bytes) = slot.borrow_mut().take() {
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                match ended {
                    None => Poll::Pending,
                    Some(Ok(())) => Poll::Ready(None),
                    Some(Err(error)) => Poll::Ready(Some(Err(error))),
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Streamed { size: Some(size), .. } => SizeHint::with_exact(*size),
            Self::Streamed { size: None, .. } => SizeHint::default(),
        }
    }
}
