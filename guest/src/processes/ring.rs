//! The log of a process: the last bytes of both streams with their offsets since the start.

use std::collections::VecDeque;

pub const RING_MIN_BYTES: usize = 64 << 10;
pub const RING_DEFAULT_BYTES: usize = 1 << 20;
pub const RING_MAX_BYTES: usize = 64 << 20;
/// One piece that a reader gets.
pub const PIECE_MAX_BYTES: usize = 65_536;
/// Changes between the streams that are remembered; past it the oldest bytes go, whatever their
/// count, so that one-byte writes in turn cannot make the index bigger than the log.
const SEGMENTS_MAX: usize = 16_384;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout = 1,
    Stderr = 2,
}

#[derive(Clone, Copy)]
struct Segment {
    stream: Stream,
    start: u64,
}

/// What a reader finds at an offset.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    Bytes {
        stream: Stream,
        bytes: Vec<u8>,
    },
    /// The ring no longer holds the bytes up to `to`.
    Gap {
        to: u64,
    },
    /// Nothing yet.
    End,
}

pub struct Ring {
    bytes: VecDeque<u8>,
    segments: VecDeque<Segment>,
    start: u64,
    limit: usize,
}

impl Ring {
    pub fn new(limit: usize) -> Self {
        Self { bytes: VecDeque::new(), segments: VecDeque::new(), start: 0, limit }
    }

    pub fn start(&self) -> u64 {
        self.start
    }

    pub fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    pub fn held(&self) -> usize {
        self.bytes.len()
    }

    /// Appends and forgets what is then too old.
    pub fn push(&mut self, stream: Stream, mut bytes: &[u8]) {
        if self.segments.back().is_none_or(|last| last.stream != stream) {
            self.segments.push_back(Segment { stream, start: self.end() });
        }
        if bytes.len() > self.limit {
            let skipped = bytes.len() - self.limit;
            let end = self.end() + skipped as u64;
            self.bytes.clear();
            self.start = end;
            bytes = &bytes[skipped..];
        }
        let over = (self.bytes.len() + bytes.len()).saturating_sub(self.limit);
        self.forget(over);
        self.bytes.extend(bytes);
        while self.segments.len() > SEGMENTS_MAX {
            let over = self.segments[1].start.saturating_sub(self.start);
            self.forget(over as usize);
        }
    }

    /// Drops everything that is held; offsets go on.
    pub fn clear(&mut self) {
        self.forget(self.bytes.len());
        self.bytes = VecDeque::new();
        self.segments = VecDeque::new();
    }

    /// Lets the ring grow no further than what it holds now.
    pub fn stop_growing(&mut self) {
        self.limit = self.limit.min(self.bytes.len().max(RING_MIN_BYTES));
    }

    pub fn read(&self, offset: u64) -> Piece {
        if offset < self.start {
            return Piece::Gap { to: self.start };
        }
        if offset >= self.end() {
            return Piece::End;
        }
        let next = self.segments.partition_point(|segment| segment.start <= offset);
        let stream = self.segments[next - 1].stream;
        let until = self.segments.get(next).map_or(self.end(), |segment| segment.start);
        let from = (offset - self.start) as usize;
        let length = ((until - offset) as usize).min(PIECE_MAX_BYTES);
        let bytes = self.bytes.range(from..from + length).copied().collect();
        Piece::Bytes { stream, bytes }
    }

    fn forget(&mut self, count: usize) {
        self.bytes.drain(..count.min(self.bytes.len()));
        self.start += count as u64;
        while self.segments.len() > 1 && self.segments[1].start <= self.start {
            self.segments.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(ring: &Ring, offset: u64) -> Option<(Stream, String)> {
        match ring.read(offset) {
            Piece::Bytes { stream, bytes } => Some((stream, String::from_utf8(bytes).unwrap())),
            _ => None,
        }
    }

    #[test]
    fn streams_share_one_counter_in_order() {
        let mut ring = Ring::new(100);
        ring.push(Stream::Stdout, b"abc");
        ring.push(Stream::Stdout, b"def");
        ring.push(Stream::Stderr, b"ERR");
        ring.push(Stream::Stdout, b"x");
        assert_eq!(text(&ring, 0), Some((Stream::Stdout, "abcdef".into())));
        assert_eq!(text(&ring, 4), Some((Stream::Stdout, "ef".into())));
        assert_eq!(text(&ring, 6), Some((Stream::Stderr, "ERR".into())));
        assert_eq!(text(&ring, 9), Some((Stream::Stdout, "x".into())));
        assert_eq!(ring.read(10), Piece::End);
        assert_eq!(ring.read(11), Piece::End);
    }

    #[test]
    fn the_oldest_bytes_go_and_leave_a_gap() {
        let mut ring = Ring::new(4);
        ring.push(Stream::Stderr, b"12");
        ring.push(Stream::Stdout, b"abcd");
        assert_eq!(ring.read(0), Piece::Gap { to: 2 });
        assert_eq!(text(&ring, 2), Some((Stream::Stdout, "abcd".into())));
        ring.push(Stream::Stderr, b"0123456789");
        assert_eq!((ring.start(), ring.end()), (12, 16));
        assert_eq!(text(&ring, 12), Some((Stream::Stderr, "6789".into())));
    }

    #[test]
    fn clearing_keeps_the_offsets() {
        let mut ring = Ring::new(10);
        ring.push(Stream::Stdout, b"abc");
        ring.clear();
        assert_eq!((ring.start(), ring.end()), (3, 3));
        ring.push(Stream::Stdout, b"d");
        assert_eq!(text(&ring, 3), Some((Stream::Stdout, "d".into())));
    }

    #[test]
    fn alternating_bytes_do_not_grow_the_index() {
        let mut ring = Ring::new(RING_MAX_BYTES);
        for _ in 0..SEGMENTS_MAX {
            ring.push(Stream::Stdout, b"a");
            ring.push(Stream::Stderr, b"b");
        }
        assert_eq!(ring.segments.len(), SEGMENTS_MAX);
        assert_eq!(ring.end(), 2 * SEGMENTS_MAX as u64);
        assert_eq!(ring.held(), SEGMENTS_MAX);
    }

    /// Against a model that keeps everything.
    #[test]
    fn any_order_of_pushes_reads_back() {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        for _ in 0..300 {
            let mut ring = Ring::new(1 + next() as usize % 50);
            let mut model: Vec<(u8, Stream)> = Vec::new();
            for _ in 0..40 {
                let stream = if next() % 2 == 0 { Stream::Stdout } else { Stream::Stderr };
                let bytes: Vec<u8> = (0..next() % 70).map(|_| next() as u8).collect();
                ring.push(stream, &bytes);
                model.extend(bytes.iter().map(|byte| (*byte, stream)));
                assert_eq!(ring.end(), model.len() as u64);
                assert!(ring.held() <= ring.limit());
                let mut offset = ring.start();
                while let Piece::Bytes { stream, bytes } = ring.read(offset) {
                    for byte in bytes {
                        assert_eq!(model[offset as usize], (byte, stream));
                        offset += 1;
                    }
                }
                assert_eq!(offset, ring.end());
            }
        }
    }
}
