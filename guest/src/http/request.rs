//! Request bodies: JSON within a limit, or a stream of pieces.

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body, Incoming};
use serde::de::DeserializeOwned;
use std::future::poll_fn;
use std::pin::Pin;

use super::error::{Answer, Code, Refusal};

pub const JSON_MAX_BYTES: usize = 1_048_576;

/// What a body consists of.
pub enum Part {
    Bytes(Bytes),
    /// What the sender could say only after the last byte.
    Trailers(HeaderMap),
    End,
}

/// The next part, `End` at the proper end, an error when the client left half-way.
pub async fn part(body: &mut Incoming) -> Answer<Part> {
    match poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
        // hyper takes a cancelled stream for a proper end; only END_STREAM is one.
        None if body.is_end_stream() => Ok(Part::End),
        None => {
            let message = "the request body was cancelled half-way; send it again";
            Err(Refusal::invalid(message))
        }
        Some(Ok(frame)) => Ok(match frame.into_data() {
            Ok(bytes) => Part::Bytes(bytes),
            Err(frame) => Part::Trailers(frame.into_trailers().unwrap_or_default()),
        }),
        Some(Err(error)) => {
            let message = format!("the request body ended early: {error}; send it again");
            Err(Refusal::invalid(message))
        }
    }
}

/// The next bytes, `None` at the proper end.
pub async fn piece(body: &mut Incoming) -> Answer<Option<Bytes>> {
    loop {
        match part(body).await? {
            Part::Bytes(bytes) => return Ok(Some(bytes)),
            Part::Trailers(_) => {}
            Part::End => return Ok(None),
        }
    }
}

/// The whole body as JSON; an empty one is `{}`.
pub async fn json<T: DeserializeOwned>(mut body: Incoming) -> Answer<T> {
    let mut bytes = Vec::new();
    while let Some(piece) = piece(&mut body).await? {
        if bytes.len() + piece.len() > JSON_MAX_BYTES {
            let message = format!("the JSON body is over {JSON_MAX_BYTES} bytes; send less");
            return Err(Refusal::new(Code::PayloadTooLarge, message));
        }
        bytes.extend_from_slice(&piece);
    }
    let bytes = if bytes.is_empty() { b"{}" } else { bytes.as_slice() };
    serde_json::from_slice(bytes)
        .map_err(|error| Refusal::invalid(format!("cannot read the JSON body: {error}")))
}
