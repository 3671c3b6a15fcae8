//! Frames of the link: a decoder that survives garbage, and the few frames that the agent writes.

pub const FRAME_MAX_BYTES: usize = 65_536;
pub const HEADER_BYTES: usize = 4;
pub const NONCE_BYTES: usize = 16;
/// After a fault the decoder believes in nothing but an OPEN behind this many padding bytes.
pub const RESYNC_RUN_BYTES: usize = 1_024;

const NOP: u8 = 0;
const DATA: u8 = 1;
const OPEN: u8 = 2;
const OPENED: u8 = 3;
const CLOSE: u8 = 4;

const MAGIC: &[u8; 16] = b"ATOLL-LINK-0001\n";

pub type Nonce = [u8; NONCE_BYTES];

/// What the decoder found, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Bytes of a DATA frame that has not ended yet; they count only after `Commit`.
    Data(&'a [u8]),
    /// The DATA frame was whole.
    Commit,
    /// The DATA frame ran into a sled: its tail is padding, not what was sent.
    Spoiled,
    Open(Nonce),
    Close,
    /// An unknown type or a wrong length: input is dropped up to the next OPEN.
    Fault,
}

enum State {
    Header { bytes: [u8; HEADER_BYTES], have: usize },
    Data { left: usize },
    Open { nonce: Nonce, have: usize },
    Hunt { zeros: usize, matched: usize },
}

/// Turns the incoming bytes into events, whatever their split.
pub struct Decoder {
    state: State,
}

impl Decoder {
    pub fn new() -> Self {
        Self { state: State::Header { bytes: [0; HEADER_BYTES], have: 0 } }
    }

    pub fn decode(&mut self, mut input: &[u8], sink: &mut impl FnMut(Event<'_>)) {
        while !input.is_empty() {
            input = match &mut self.state {
                State::Header { .. } => self.header(input, sink),
                State::Data { .. } => self.data(input, sink),
                State::Open { .. } => self.open(input, sink),
                State::Hunt { .. } => self.hunt(input),
            };
        }
    }

    fn header<'a>(&mut self, input: &'a [u8], sink: &mut impl FnMut(Event<'_>)) -> &'a [u8] {
        let State::Header { bytes, have } = &mut self.state else {
            return input;
        };
        let Some((&byte, rest)) = input.split_first() else {
            return input;
        };
        if *have == 0 && byte == NOP {
            let run = input.iter().take_while(|byte| **byte == NOP).count();
            return &input[run..];
        }
        bytes[*have] = byte;
        *have += 1;
        if *have < HEADER_BYTES {
            return rest;
        }
        let kind = bytes[0];
        let length =
            usize::from(bytes[1]) << 16 | usize::from(bytes[2]) << 8 | usize::from(bytes[3]);
        self.state = match (kind, length) {
            (DATA, 1..=FRAME_MAX_BYTES) => State::Data { left: length },
            (OPEN, NONCE_BYTES) => State::Open { nonce: [0; NONCE_BYTES], have: 0 },
            (CLOSE, 0) => {
                sink(Event::Close);
                start()
            }
            _ => {
                sink(Event::Fault);
                State::Hunt { zeros: 0, matched: 0 }
            }
        };
        rest
    }

    fn data<'a>(&mut self, input: &'a [u8], sink: &mut impl FnMut(Event<'_>)) -> &'a [u8] {
        let State::Data { left } = &mut self.state else {
            return input;
        };
        let take = input.len().min(*left);
        let (bytes, rest) = input.split_at(take);
        *left -= take;
        sink(Event::Data(bytes));
        if *left == 0 {
            self.state = start();
            // Padding comes only before an OPEN, so a frame that padding follows at once was cut
            // short by a host that died or was restored, and its tail is padding as well.
            sink(if rest.first() == Some(&NOP) { Event::Spoiled } else { Event::Commit });
        }
        rest
    }

    fn open<'a>(&mut self, input: &'a [u8], sink: &mut impl FnMut(Event<'_>)) -> &'a [u8] {
        let State::Open { nonce, have } = &mut self.state else {
            return input;
        };
        let take = input.len().min(NONCE_BYTES - *have);
        let (bytes, rest) = input.split_at(take);
        nonce[*have..*have + take].copy_from_slice(bytes);
        *have += take;
        if *have == NONCE_BYTES {
            sink(Event::Open(*nonce));
            self.state = start();
        }
        rest
    }

    fn hunt<'a>(&mut self, input: &'a [u8]) -> &'a [u8] {
        const EXPECTED: [u8; HEADER_BYTES] = [OPEN, 0, 0, NONCE_BYTES as u8];
        let State::Hunt { zeros, matched } = &mut self.state else {
            return input;
        };
        let Some((&byte, rest)) = input.split_first() else {
            return input;
        };
        if *matched > 0 || (byte == OPEN && *zeros >= RESYNC_RUN_BYTES) {
            if byte == EXPECTED[*matched] {
                *matched += 1;
            } else {
                (*zeros, *matched) = (0, 0);
            }
        } else if byte == NOP {
            *zeros += 1;
        } else {
            *zeros = 0;
        }
        if *matched == HEADER_BYTES {
            self.state = State::Open { nonce: [0; NONCE_BYTES], have: 0 };
        }
        rest
    }
}

fn start() -> State {
    State::Header { bytes: [0; HEADER_BYTES], have: 0 }
}

/// The header of a DATA frame of `length` bytes (1 to `FRAME_MAX_BYTES`).
pub fn data_header(length: usize) -> [u8; HEADER_BYTES] {
    header(DATA, length)
}

/// The answer to an OPEN: magic, the nonce, and the generation that this agent speaks.
pub fn opened(nonce: &Nonce, generation: u32) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER_BYTES + MAGIC.len() + NONCE_BYTES + 4);
    frame.extend_from_slice(&header(OPENED, MAGIC.len() + NONCE_BYTES + 4));
    frame.extend_from_slice(MAGIC);
    frame.extend_from_slice(nonce);
    frame.extend_from_slice(&generation.to_be_bytes());
    frame
}

pub fn close() -> [u8; HEADER_BYTES] {
    header(CLOSE, 0)
}

fn header(kind: u8, length: usize) -> [u8; HEADER_BYTES] {
    [kind, (length >> 16) as u8, (length >> 8) as u8, length as u8]
}

#[cfg(test)]
#[path = "frame_test.rs"]
mod tests;
