//! Request bodies: JSON within a limit, or a stream of pieces.

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use serde::de::DeserializeOwned;
use std::future::poll_fn;
use std::pin::Pin;

use super::error::{Answer, Code, Refusal};

pub const JSON_MAX_BYTES: usize = 1_048_576;

/// The next piece, `None` at the proper end, an error when the client left half-way.
pub async fn piece(body: &mut Incoming) -> Answer<Option<Bytes>> {
    loop {
        match poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
            // hyper takes a cancelled stream for a proper end; only END_STREAM is one.
            None if body.is_end_stream() => return Ok(None),
            None => {
                let message = "the request body was cancelled half-way; send it again";
                return Err(Refusal::invalid(message));
            }
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
            Some(Err(error)) => {
                let message = format!("the request body ended early: {error}; send it again");
                return Err(Refusal::invalid(message));
            }
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
