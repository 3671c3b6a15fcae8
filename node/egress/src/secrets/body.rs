//! A request's JSON or form body with its placeholders replaced.
use super::rewriter::Rewriter;
use crate::http::body::{Body, Failure, Rewritten, whole};
use crate::limits::BODY_REWRITE_BYTES;
use bytes::BytesMut;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;

/// A short body of known length is rewritten whole and says its new length; another one streams without any.
pub async fn rewrite(mut body: Body, mut rewriter: Rewriter, headers: &mut HeaderMap) -> Result<Body, Failure> {
    let declared = headers.remove(CONTENT_LENGTH);
    let length = declared.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_none_or(|length| length > BODY_REWRITE_BYTES) {
        return Ok(Rewritten::new(body, rewriter, false).boxed_unsync());
    }
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&rewriter.push(data));
        }
    }
    bytes.extend_from_slice(&rewriter.finish());
    headers.insert(CONTENT_LENGTH, bytes.len().into());
    Ok(whole(bytes.freeze()))
}
