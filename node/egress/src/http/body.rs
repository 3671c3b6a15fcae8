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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::Secrets;
    use http::{HeaderMap, HeaderValue};
    use serde_json::json;

    /// A body of one piece, and a trailer behind it.
    struct Trailed(Vec<Frame<Bytes>>);

    impl HttpBody for Trailed {
        type Data = Bytes;
        type Error = Failure;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
            Poll::Ready((!self.0.is_empty()).then(|| Ok(self.0.remove(0))))
        }
    }

    #[tokio::test]
    async fn what_is_held_back_comes_before_the_trailers_and_they_are_rewritten_too() {
        let secrets = json!([{ "name": "key", "placeholder": "atoll_secret_key_0123456789abcdef", "value": "secret-value", "bindings": [] }]);
        let secrets = Secrets::compile(serde_json::from_value(secrets).unwrap()).unwrap();
        for with_trailers in [true, false] {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-echo", HeaderValue::from_static("a secret-value"));
            let data = Frame::data(Bytes::from_static(b"secret-value and secret-"));
            let inner = pass(Trailed(vec![data, Frame::trailers(trailers)]));
            let collected = Rewritten::new(inner, secrets.scrubber(), with_trailers)
                .collect()
                .await
                .unwrap();
            let trailer = collected.trailers().unwrap()["x-echo"].clone();
            assert_eq!(
                trailer,
                if with_trailers {
                    "a ************"
                } else {
                    "a secret-value"
                }
            );
            assert_eq!(collected.to_bytes(), "************ and secret-");
        }
    }
}
