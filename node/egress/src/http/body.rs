//! Bodies on their way: as they are, whole, or rewritten chunk by chunk.
use crate::secrets::rewriter::Rewriter;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

pub type Failure = Box<dyn std::error::Error + Send + Sync>;
pub type Body = UnsyncBoxBody<Bytes, Failure>;

pub fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

pub fn pass<B>(body: B) -> Body
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Failure>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// Passes what the rewriter makes of the data; what it holds back at the end comes before the trailers.
pub struct Rewritten {
    inner: Body,
    rewriter: Rewriter,
    /// Towards the sandbox trailers are rewritten as well; a value is bound to none of a request's.
    with_trailers: bool,
    trailers: Option<Frame<Bytes>>,
    ended: bool,
}

impl Rewritten {
    pub fn new(inner: Body, rewriter: Rewriter, with_trailers: bool) -> Self {
        Self {
            inner,
            rewriter,
            with_trailers,
            trailers: None,
            ended: false,
        }
    }
}

impl Rewritten {
    fn rewrite_trailers(&self, frame: Frame<Bytes>) -> Frame<Bytes> {
        match frame.into_trailers() {
            Ok(mut trailers) => {
                if self.with_trailers {
                    self.rewriter.rewrite_fields(&mut trailers);
                }
                Frame::trailers(trailers)
            }
            Err(frame) => frame,
        }
    }
}

impl HttpBody for Rewritten {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        loop {
            if self.ended {
                return Poll::Ready(self.trailers.take().map(Ok));
            }
            let (bytes, ended) = match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
                None => (self.rewriter.finish(), true),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => (self.rewriter.push(data), false),
                    Err(trailers) => {
                        self.trailers = Some(self.rewrite_trailers(trailers));
                        (self.rewriter.finish(), true)
                    }
                },
            };
            self.ended = ended;
            if !bytes.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
