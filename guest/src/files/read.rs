//! `GET /v1/files`: bytes of a regular file, whole or a range.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::entry::modified_ms;
use super::path::{fstat, target};
use crate::agent::Agent;
use crate::http::body::{ResponseBody, Sender};
use crate::http::error::{Answer, Code, Refusal};
use crate::http::query::Query;
use crate::kernel::descriptor;

pub const PIECE_BYTES: usize = 128 << 10;
/// Files of /proc and /sys say they are empty; this much of them is read at once.
const VIRTUAL_MAX_BYTES: usize = 1 << 20;

pub fn call(agent: &Agent, query: &Query, headers: &HeaderMap) -> Answer<Response<ResponseBody>> {
    let target = target(agent, query.required("path")?, query.get("user"))?;
    // Without O_NONBLOCK a fifo would stop the one thread.
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
    let (file, found) = target.act("read", || {
        let file = descriptor::open(&target.path, flags)?;
        let found = fstat(file.as_raw_fd())?;
        Ok((file, found))
    })?;
    if found.st_mode & libc::S_IFMT != libc::S_IFREG {
        let message = format!("cannot read {}: it is no regular file", target.text);
        return Err(Refusal::new(Code::NotAFile, message));
    }
    if found.st_size == 0 {
        let read =
            target.act("read", || descriptor::read_small(file.as_raw_fd(), VIRTUAL_MAX_BYTES));
        let bytes = read?;
        let size = bytes.len() as u64;
        return Ok(respond(ResponseBody::whole(bytes), StatusCode::OK, size, size, &found));
    }
    let size = found.st_size as u64;
    let Some((start, end)) = range(headers, size)? else {
        let body = ResponseBody::streamed(Some(size), |sender| copy(sender, file, 0, size));
        return Ok(respond(body, StatusCode::OK, size, size, &found));
    };
    let body = ResponseBody::streamed(Some(end - start), |sender| copy(sender, file, start, end));
    let mut response = respond(body, StatusCode::PARTIAL_CONTENT, end - start, size, &found);
    let text = format!("bytes {start}-{}/{size}", end - 1);
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    Ok(response)
}

fn respond(
    body: ResponseBody,
    status: StatusCode,
    length: u64,
    size: u64,
    found: &libc::stat,
) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    let binary = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, binary);
    headers.insert(HeaderName::from_static("x-atoll-size"), HeaderValue::from(size));
    let modified = HeaderValue::from(modified_ms(found));
    headers.insert(HeaderName::from_static("x-atoll-modified-ms"), modified);
    if let Ok(mode) = HeaderValue::from_str(&format!("{:04o}", found.st_mode & 0o7777)) {
        headers.insert(HeaderName::from_static("x-atoll-mode"), mode);
    }
    response
}

/// Sends the bytes from `at` to `end`; a file that shrank meanwhile breaks the stream.
pub async fn copy(sender: Sender, file: OwnedFd, mut at: u64, end: u64) -> io::Result<()> {
    while at < end {
        let mut piece = vec![0; PIECE_BYTES.min((end - at) as usize)];
        let count = descriptor::read_at(file.as_raw_fd(), &mut piece, at)?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter"));
        }
        piece.truncate(count);
        at += count as u64;
        sender.send(piece).await;
    }
    Ok(())
}

/// The one range of the header as start and end (not included).
fn range(headers: &HeaderMap, size: u64) -> Answer<Option<(u64, u64)>> {
    let Some(value) = headers.get(header::RANGE) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    parse_range(text, size).map(Some).ok_or_else(|| {
        let message = format!("cannot serve range {text:?} of {size} bytes; ask for bytes=a-b");
        Refusal::new(Code::RangeNotSatisfiable, message)
    })
}

fn parse_range(text: &str, size: u64) -> Option<(u64, u64)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    if first.is_empty() {
        let count: u64 = last.parse().ok()?;
        return (count > 0).then(|| (size.saturating_sub(count), size));
    }
    let start: u64 = first.parse().ok()?;
    let end = match last {
        "" => size,
        _ => last.parse::<u64>().ok()?.checked_add(1)?.min(size),
    };
    (start < end && start < size).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::parse_range;

    #[test]
    fn ranges() {
        for (text, range) in [
            ("bytes=0-0", Some((0, 1))),
            ("bytes=3-", Some((3, 10))),
            ("bytes=-4", Some((6, 10))),
            ("bytes=-40", Some((0, 10))),
            ("bytes=5-99", Some((5, 10))),
            ("bytes=10-", None),
            ("bytes=4-3", None),
            ("bytes=-0", None),
            ("bytes=1-2,4-5", None),
            ("bytes=0-18446744073709551615", None),
            ("lines=1-2", None),
        ] {
            assert_eq!(parse_range(text, 10), range, "{text}");
        }
    }
}
