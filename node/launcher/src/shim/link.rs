//! The link layer of docs/reference/guest-protocol.md, without I/O: sessions on a byte stream that has none.

pub const NONCE_BYTES: usize = 16;
pub const LONGEST_PAYLOAD_BYTES: usize = 65_536;
const HEADER_BYTES: usize = 4;
const SLED_BYTES: usize = LONGEST_PAYLOAD_BYTES + HEADER_BYTES;
const MAGIC: &[u8; 16] = b"ATOLL-LINK-0001\n";
const DATA: u8 = 0x01;
const OPEN: u8 = 0x02;
const CLOSE: u8 = 0x04;

const fn header(kind: u8, length: usize) -> [u8; HEADER_BYTES] {
    [
        kind,
        (length >> 16) as u8,
        (length >> 8) as u8,
        length as u8,
    ]
}

/// Bytes on their way to the guest. A frame that was begun is always finished.
pub struct Outgoing {
    frame: Vec<u8>,
    frame_at: usize,
    control: Vec<u8>,
    control_at: usize,
}

impl Outgoing {
    pub const fn new() -> Self {
        Self {
            frame: Vec::new(),
            frame_at: 0,
            control: Vec::new(),
            control_at: 0,
        }
    }

    pub const fn is_empty(&self) -> bool {
        self.frame_at == self.frame.len() && self.control_at == self.control.len()
    }

    /// What to write next.
    pub fn rest(&self) -> &[u8] {
        if self.frame_at < self.frame.len() {
            &self.frame[self.frame_at..]
        } else {
            &self.control[self.control_at..]
        }
    }

    pub fn advance(&mut self, written: usize) {
        if self.frame_at < self.frame.len() {
            self.frame_at += written;
            return;
        }
        self.control_at += written;
        if self.control_at == self.control.len() {
            self.control = Vec::new();
            self.control_at = 0;
        }
    }

    /// Begins a session: an agent in mid-frame swallows at most the sled. What waits for an older session goes,
    /// so that nothing piles up before an agent that does not read; a control frame that is cut ends in the sled.
    pub fn open(&mut self, nonce: &[u8; NONCE_BYTES]) {
        if self.frame_at == 0 {
            self.frame.clear();
        }
        self.control.clear();
        self.control_at = 0;
        self.control.resize(SLED_BYTES, 0);
        self.control.extend_from_slice(&header(OPEN, NONCE_BYTES));
        self.control.extend_from_slice(nonce);
    }

    pub fn close(&mut self) {
        self.control.extend_from_slice(&header(CLOSE, 0));
    }

    /// Makes one DATA frame of what `read` delivers. Only when nothing waits. The answer is that of `read`.
    pub fn fill(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> std::io::Result<usize>,
    ) -> std::io::Result<usize> {
        let whole = HEADER_BYTES + LONGEST_PAYLOAD_BYTES;
        if self.frame.capacity() < whole {
            self.frame.reserve_exact(whole - self.frame.len());
        }
        if self.frame.len() < whole {
            self.frame.resize(whole, 0);
        }
        let got = read(&mut self.frame[HEADER_BYTES..]);
        let length = *got.as_ref().unwrap_or(&0);
        if length == 0 {
            self.frame_at = self.frame.len();
            return got;
        }
        self.frame[..HEADER_BYTES].copy_from_slice(&header(DATA, length));
        self.frame.truncate(HEADER_BYTES + length);
        self.frame_at = 0;
        got
    }

    /// Gives an idle session's memory back.
    pub fn shrink(&mut self) {
        if self.is_empty() {
            *self = Self::new();
        }
    }
}

/// What the guest's bytes turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Session bytes; tell with `consume` how many were taken.
    Payload(&'a [u8]),
    /// Nothing until more is read.
    More,
    /// The guest answered OPEN with this generation.
    Opened(u32),
    /// The guest ended the session.
    Closed,
    /// The guest broke the protocol.
    Broken(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No session: nothing is read.
    Idle,
    /// Drops everything up to magic and nonce.
    Seeking([u8; NONCE_BYTES]),
    /// In a session, with so many bytes of a DATA frame to come.
    Open(usize),
}

/// Bytes that came from the guest.
pub struct Incoming {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    state: State,
}

const BUFFER_BYTES: usize = 256 * 1024;

impl Incoming {
    pub const fn new() -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            end: 0,
            state: State::Idle,
        }
    }

    pub fn seek(&mut self, nonce: [u8; NONCE_BYTES]) {
        self.state = State::Seeking(nonce);
    }

    /// Ends the session on this side and gives the memory back.
    pub fn idle(&mut self) {
        *self = Self::new();
    }

    /// Reads more behind what is there.
    pub fn fill(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> std::io::Result<usize>,
    ) -> std::io::Result<usize> {
        if self.buffer.is_empty() {
            self.buffer = vec![0; BUFFER_BYTES];
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let got = read(&mut self.buffer[self.end..])?;
        self.end += got;
        Ok(got)
    }

    pub fn consume(&mut self, taken: usize) {
        self.start += taken;
        if let State::Open(left) = &mut self.state {
            *left -= taken;
        }
    }

    pub fn next(&mut self) -> Piece<'_> {
        match self.state {
            State::Idle => {
                self.start = self.end;
                Piece::More
            }
            State::Seeking(nonce) => self.seek_opened(&nonce),
            State::Open(0) => self.frame(),
            State::Open(left) => self.payload(left),
        }
    }

    fn payload(&self, left: usize) -> Piece<'_> {
        let there = left.min(self.end - self.start);
        if there == 0 {
            Piece::More
        } else {
            Piece::Payload(&self.buffer[self.start..self.start + there])
        }
    }

    fn seek_opened(&mut self, nonce: &[u8; NONCE_BYTES]) -> Piece<'_> {
        const MARK_BYTES: usize = MAGIC.len() + NONCE_BYTES;
        let mut mark = [0u8; MARK_BYTES];
        mark[..MAGIC.len()].copy_from_slice(MAGIC);
        mark[MAGIC.len()..].copy_from_slice(nonce);
        let there = &self.buffer[self.start..self.end];
        let Some(found) = there.windows(MARK_BYTES).position(|window| window == mark) else {
            // The mark may be cut in two by what is still to come.
            self.start = self.end - there.len().min(MARK_BYTES - 1);
            return Piece::More;
        };
        let generation = self.start + found + MARK_BYTES;
        let Some(bytes) = self.buffer[..self.end].get(generation..generation + 4) else {
            self.start += found;
            return Piece::More;
        };
        let generation_number = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        self.start = generation + 4;
        self.state = State::Open(0);
        Piece::Opened(generation_number)
    }

    fn frame(&mut self) -> Piece<'_> {
        while self.start < self.end && self.buffer[self.start] == 0 {
            self.start += 1;
        }
        let Some(&[kind, high, middle, low]) =
            self.buffer[self.start..self.end].first_chunk::<HEADER_BYTES>()
        else {
            return Piece::More;
        };
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        match (kind, length) {
            (DATA, 1..=LONGEST_PAYLOAD_BYTES) => {
                self.start += HEADER_BYTES;
                self.state = State::Open(length);
                self.payload(length)
            }
            (DATA, _) => Piece::Broken("a DATA frame of no or too many bytes"),
            (CLOSE, 0) => Piece::Closed,
            _ => Piece::Broken("a frame of unknown type"),
        }
    }
}

#[cfg(test)]
mod tests;
