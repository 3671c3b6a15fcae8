//! Watches the bytes of HTTP/1 beside the parser: what a lenient reader would accept in another way than a strict
//! one (two lengths, two hosts, a target with a host, bare line feeds) is a fault, and the request is refused.
use crate::limits::{HEAD_BYTES, HEAD_FIELDS};
use memchr::memmem;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub struct Guard<T> {
    inner: T,
    framing: Framing,
    fault: Arc<AtomicBool>,
}

#[derive(Debug, PartialEq, Eq)]
enum Framing {
    Head(Vec<u8>),
    Body(u64),
    ChunkSize(Vec<u8>),
    ChunkData(u64),
    Trailer(Vec<u8>),
    /// After an upgrade, or a fault.
    Open,
}

impl<T> Guard<T> {
    pub fn new(inner: T, fault: Arc<AtomicBool>) -> Self {
        Self {
            inner,
            framing: Framing::Head(Vec::new()),
            fault,
        }
    }

    fn observe(&mut self, bytes: &[u8]) {
        if !self.framing.advance(bytes) {
            self.fault.store(true, Ordering::Release);
            self.framing = Framing::Open;
        }
    }
}

impl Framing {
    /// False at the first thing that is not as it must be.
    fn advance(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let step = match self {
                Self::Open => return true,
                Self::Head(head) => head_step(head, bytes),
                Self::Body(left) => Some(data_step(*left, bytes, Self::Body, Self::Head(Vec::new()))),
                // A chunk's data ends with CR LF, which counts as its last two bytes.
                Self::ChunkData(left) => Some(data_step(*left, bytes, Self::ChunkData, Self::ChunkSize(Vec::new()))),
                Self::ChunkSize(line) => line_step(line, bytes, Self::ChunkSize, chunk_size),
                Self::Trailer(line) => line_step(line, bytes, Self::Trailer, |line| {
                    Some(if line.is_empty() {
                        Self::Head(Vec::new())
                    } else {
                        Self::Trailer(Vec::new())
                    })
                }),
            };
            let Some((used, next)) = step else { return false };
            *self = next;
            bytes = &bytes[used..];
        }
        true
    }
}

fn data_step(left: u64, bytes: &[u8], stay: fn(u64) -> Framing, then: Framing) -> (usize, Framing) {
    let used = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    let left = left - used as u64;
    (used, if left == 0 { then } else { stay(left) })
}

fn line_step(
    line: &mut Vec<u8>,
    bytes: &[u8],
    stay: fn(Vec<u8>) -> Framing,
    then: impl Fn(&[u8]) -> Option<Framing>,
) -> Option<(usize, Framing)> {
    let end = memchr::memchr(b'\n', bytes);
    let used = end.map_or(bytes.len(), |end| end + 1);
    line.extend_from_slice(&bytes[..used]);
    if line.len() > 4_096 {
        return None;
    }
    match end {
        None => Some((used, stay(std::mem::take(line)))),
        Some(_) => Some((used, then(line.strip_suffix(b"\r\n")?)?)),
    }
}

fn chunk_size(line: &[u8]) -> Option<Framing> {
    let digits = line.split(|byte| *byte == b';').next()?;
    let text = std::str::from_utf8(digits).ok()?;
    if text.is_empty() || text.len() > 15 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    match u64::from_str_radix(text, 16).ok()? {
        0 => Some(Framing::Trailer(Vec::new())),
        size => Some(Framing::ChunkData(size + 2)),
    }
}

fn head_step(head: &mut Vec<u8>, bytes: &[u8]) -> Option<(usize, Framing)> {
    // Empty lines before a request are skipped by parsers.
    if head.is_empty() && matches!(bytes[0], b'\r' | b'\n') {
        return if bytes[0] == b'\r' || bytes.len() > 1 || bytes[0] == b'\n' {
            Some((1, Framing::Head(Vec::new())))
        } else {
            None
        };
    }
    let before = head.len();
    head.extend_from_slice(bytes);
    let from = before.saturating_sub(3);
    let end = memmem::find(&head[from..], b"\r\n\r\n").map(|index| from + index + 4);
    let seen = &head[..end.unwrap_or(head.len())];
    let bare = memchr::memchr_iter(b'\n', seen).any(|at| at == 0 || seen[at - 1] != b'\r');
    if bare || seen.len() > HEAD_BYTES {
        return None;
    }
    match end {
        None => Some((bytes.len(), Framing::Head(std::mem::take(head)))),
        Some(end) => Some((end - before, framing(&head[..end])?)),
    }
}

/// What follows this head; None when it has more than one reading.
fn framing(head: &[u8]) -> Option<Framing> {
    let mut fields = [httparse::EMPTY_HEADER; HEAD_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    if !request.parse(head).ok()?.is_complete() {
        return None;
    }
    let target = request.path?;
    if !(target.starts_with('/') || target == "*" && request.method == Some("OPTIONS")) {
        return None;
    }
    let all = |name: &str| -> Vec<&[u8]> {
        let named = request
            .headers
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| field.value).collect()
    };
    let (lengths, encodings) = (all("content-length"), all("transfer-encoding"));
    if all("host").len() != 1 || lengths.len() + encodings.len() > 1 {
        return None;
    }
    let upgrades = !all("upgrade").is_empty();
    if let Some(encoding) = encodings.first() {
        let chunked = encoding.eq_ignore_ascii_case(b"chunked") && request.version == Some(1) && !upgrades;
        return chunked.then(|| Framing::ChunkSize(Vec::new()));
    }
    let length = match lengths.first() {
        None => 0,
        Some(text) if !text.is_empty() && text.iter().all(u8::is_ascii_digit) => {
            std::str::from_utf8(text).ok()?.parse::<u64>().ok()?
        }
        Some(_) => return None,
    };
    Some(match length {
        0 if upgrades => Framing::Open,
        0 => Framing::Head(Vec::new()),
        _ if upgrades => return None,
        length => Framing::Body(length),
    })
}

impl<T: AsyncRead + Unpin> AsyncRead for Guard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        self.observe(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Guard<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict must not depend on how the bytes are cut.
    fn accepts(text: &str) -> bool {
        let run = |size: usize| {
            let mut framing = Framing::Head(Vec::new());
            text.as_bytes().chunks(size).all(|part| framing.advance(part))
        };
        let verdict = run(usize::MAX);
        for size in 1..12 {
            assert_eq!(run(size), verdict, "{text:?} in pieces of {size}");
        }
        verdict
    }

    #[test]
    fn plain_requests_pass_one_after_the_other() {
        assert!(accepts(
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n"
        ));
        assert!(accepts(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n"
        ));
        let chunked =
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: v\r\n\r\n";
        assert!(accepts(&format!("{chunked}\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")));
        assert!(accepts("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"));
    }

    #[test]
    fn two_readings_are_a_fault() {
        let head = |rest: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{rest}\r\n\r\n");
        for fields in [
            "Content-Length: 3\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 3",
            "Content-Length: 3\r\nContent-Length: 3",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: identity",
            "Content-Length: +3",
            "Content-Length: 3, 3",
            "host: b",
            "Folded: a\r\n b",
            "Space : a",
            "Bare: a\nX: b",
        ] {
            assert!(!accepts(&head(fields)), "{fields:?}");
        }
        assert!(!accepts("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(!accepts("CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n"));
        assert!(!accepts("GET / HTTP/1.1\r\n\r\n"));
        assert!(!accepts("GET / HTTP/1.1\nHost: a\n\n"));
        assert!(!accepts(
            &head("Transfer-Encoding: chunked").replace("\r\n\r\n", "\r\n\r\nzz\r\n")
        ));
        // A hidden request inside a body is no request.
        let hidden = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 21\r\n\r\nGET / HTTP/1.1\r\n\r\nabc";
        assert!(accepts(hidden));
    }
}
