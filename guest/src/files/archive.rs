//! Reads a tar archive that comes in pieces of any size. The archive is hostile: every count is
//! bounded and every header checked.

use tar::{EntryType, Header, PaxExtensions};

pub const BLOCK_BYTES: usize = 512;
/// A pax or GNU header that carries a name.
const EXTRA_MAX_BYTES: u64 = 1 << 20;
pub const NAME_MAX_BYTES: usize = 4_096;
/// An extended attribute, and what only our own layers say.
const KEPT_RECORDS: [&[u8]; 2] = [b"SCHILY.xattr.", b"ATOLL."];

/// What an archive says about one entry, before it is trusted in anything.
#[derive(Debug, PartialEq, Eq, Clone)]
pub struct Member {
    pub kind: Kind,
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub modified_s: u64,
    pub size: u64,
    /// Pax records that only a layer has a use for.
    pub records: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Kind {
    File,
    Folder,
    Symlink,
    HardLink,
    Fifo,
    Device,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    Begin(Member),
    Content(&'a [u8]),
    /// The last begun member is whole.
    Finish,
}

enum State {
    Block,
    Extra { kind: EntryType, left: u64, padding: u64, bytes: Vec<u8> },
    Content { left: u64, padding: u64 },
    Padding { left: u64 },
    Ended,
}

/// Names that a header before this one has set.
#[derive(Default)]
struct Pending {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    modified_s: Option<u64>,
    records: Vec<(Vec<u8>, Vec<u8>)>,
}

pub struct Reader {
    state: State,
    block: Vec<u8>,
    pending: Pending,
    zero_blocks: u32,
}

impl Reader {
    pub fn new() -> Self {
        let pending = Pending::default();
        Self { state: State::Block, block: Vec::new(), pending, zero_blocks: 0 }
    }

    /// Takes the next bytes; `sink` gets the events and may refuse.
    pub fn push<E: From<String>>(
        &mut self,
        mut input: &[u8],
        sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !input.is_empty() {
            input = match &mut self.state {
                State::Ended => return Ok(()),
                State::Block => self.block(input, sink)?,
                State::Extra { left, padding, bytes, .. } => {
                    let (taken, rest) = split(input, left);
                    bytes.extend_from_slice(taken);
                    if *left == 0 {
                        let padding = *padding;
                        self.take_extra()?;
                        self.state = State::Padding { left: padding };
                    }
                    rest
                }
                State::Content { left, padding } => {
                    let (taken, rest) = split(input, left);
                    sink(Event::Content(taken))?;
                    if *left == 0 {
                        self.state = State::Padding { left: *padding };
                        sink(Event::Finish)?;
                    }
                    rest
                }
                State::Padding { left } => split(input, left).1,
            };
            if matches!(self.state, State::Padding { left: 0 }) {
                self.state = State::Block;
            }
        }
        Ok(())
    }

    /// Whether the archive may end here: at its mark, or between two members.
    pub fn may_end(&self) -> bool {
        match self.state {
            State::Ended => true,
            State::Block => self.block.is_empty() && self.pending.is_empty(),
            _ => false,
        }
    }

    fn block<'a, E: From<String>>(
        &mut self,
        input: &'a [u8],
        sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<&'a [u8], E> {
        let (taken, rest) = input.split_at(input.len().min(BLOCK_BYTES - self.block.len()));
        self.block.extend_from_slice(taken);
        if self.block.len() < BLOCK_BYTES {
            return Ok(rest);
        }
        let block = std::mem::take(&mut self.block);
        if block.iter().all(|byte| *byte == 0) {
            self.zero_blocks += 1;
            if self.zero_blocks == 2 {
                self.state = State::Ended;
            }
            return Ok(rest);
        }
        self.zero_blocks = 0;
        self.header(Header::from_byte_slice(&block), sink)?;
        Ok(rest)
    }

    fn header<E: From<String>>(
        &mut self,
        header: &Header,
        sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        check_sum(header)?;
        let bad = |what: &str| E::from(format!("a header has a bad {what}"));
        let kind = header.entry_type();
        let own_size = header.entry_size().map_err(|_| bad("size"))?;
        if matches!(
            kind,
            EntryType::XHeader
                | EntryType::XGlobalHeader
                | EntryType::GNULongName
                | EntryType::GNULongLink
        ) {
            if own_size > EXTRA_MAX_BYTES {
                return Err(bad("size: its names are too long"));
            }
            let padding = own_size.next_multiple_of(BLOCK_BYTES as u64) - own_size;
            self.state = match own_size {
                0 => State::Block,
                _ => State::Extra { kind, left: own_size, padding, bytes: Vec::new() },
            };
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        let size = pending.size.unwrap_or(own_size);
        let member = Member {
            kind: member_kind(kind).map_err(E::from)?,
            path: pending.path.unwrap_or_else(|| header.path_bytes().into_owned()),
            link: pending
                .link
                .or_else(|| header.link_name_bytes().map(|link| link.into_owned()))
                .unwrap_or_default(),
            mode: header.mode().map_err(|_| bad("mode"))? & 0o7777,
            uid: header.uid().unwrap_or(0),
            gid: header.gid().unwrap_or(0),
            records: pending.records,
            modified_s: pending.modified_s.or_else(|| header.mtime().ok()).unwrap_or(0),
            size,
        };
        if member.path.len() > NAME_MAX_BYTES || member.link.len() > NAME_MAX_BYTES {
            return Err(bad("name: it is too long"));
        }
        let is_file = member.kind == Kind::File;
        sink(Event::Begin(member))?;
        if !is_file || size == 0 {
            sink(Event::Finish)?;
        }
        let padding =
            size.checked_next_multiple_of(BLOCK_BYTES as u64).ok_or_else(|| bad("size"))? - size;
        // Others than files carry no content, whatever their size field says; with one they are
        // a trick to make two readers see two archives.
        self.state = match (is_file, size) {
            (_, 0) => State::Block,
            (true, _) => State::Content { left: size, padding },
            (false, _) => return Err(bad("size: only a file has content")),
        };
        Ok(())
    }

    fn take_extra(&mut self) -> Result<(), String> {
        let State::Extra { kind, bytes, .. } = std::mem::replace(&mut self.state, State::Block)
        else {
            return Ok(());
        };
        match kind {
            EntryType::GNULongName => self.pending.path = Some(until_nul(bytes)),
            EntryType::GNULongLink => self.pending.link = Some(until_nul(bytes)),
            EntryType::XHeader => self.take_pax(&bytes)?,
            _ => {}
        }
        Ok(())
    }

    fn take_pax(&mut self, bytes: &[u8]) -> Result<(), String> {
        for record in PaxExtensions::new(bytes) {
            let record = record.map_err(|_| "a pax record is damaged".to_owned())?;
            let value = record.value_bytes();
            let number = || std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            match record.key_bytes() {
                b"path" => self.pending.path = Some(value.to_vec()),
                b"linkpath" => self.pending.link = Some(value.to_vec()),
                b"size" => {
                    self.pending.size = Some(number().ok_or("a pax size is no number")?);
                }
                b"mtime" => {
                    let text = std::str::from_utf8(value).unwrap_or_default();
                    let seconds = text.split('.').next().unwrap_or_default();
                    self.pending.modified_s = seconds.parse().ok();
                }
                key if key.starts_with(b"GNU.sparse") => {
                    return Err("the archive holds a sparse file; pack it without -S".to_owned());
                }
                key if KEPT_RECORDS.iter().any(|kept| key.starts_with(kept)) => {
                    self.pending.records.push((key.to_vec(), value.to_vec()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.path.is_none() && self.link.is_none() && self.size.is_none()
    }
}

fn member_kind(kind: EntryType) -> Result<Kind, String> {
    Ok(match kind {
        EntryType::Regular | EntryType::Continuous => Kind::File,
        EntryType::Directory => Kind::Folder,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Link => Kind::HardLink,
        EntryType::Fifo => Kind::Fifo,
        EntryType::Char | EntryType::Block => Kind::Device,
        other => return Err(format!("the archive holds an entry of unknown type {other:?}")),
    })
}

fn check_sum(header: &Header) -> Result<(), String> {
    let bytes = header.as_bytes();
    let sum: u32 = bytes[..148].iter().chain(&bytes[156..]).map(|byte| u32::from(*byte)).sum();
    match header.cksum() {
        Ok(told) if told == sum + 8 * u32::from(b' ') => Ok(()),
        _ => Err("a header does not match its checksum; is it a tar archive?".to_owned()),
    }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

fn split<'a>(input: &'a [u8], left: &mut u64) -> (&'a [u8], &'a [u8]) {
    let take = (input.len() as u64).min(*left);
    *left -= take;
    input.split_at(take as usize)
}

#[cfg(test)]
#[path = "archive_test.rs"]
mod tests;
