//! The tar stream as a sequence of entries. Written over the `tar` crate's header fields and not
//! its iterator, which reads a long name of any size into memory.
use crate::failure::{Failure, Outcome};
use crate::limits::{EXTENSION_BYTES, NAME_BYTES};
use crate::pax::{self, Extension};
use std::io::{self, Read};
use tar::{EntryType, Header};

const BLOCK_BYTES: usize = 512;
const CHECKSUM_FIELD: std::ops::Range<usize> = 148..156;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Directory,
    Symlink,
    Hardlink,
    Fifo,
    Device,
}

#[derive(Debug)]
pub struct Entry {
    pub kind: Kind,
    pub name: Vec<u8>,
    pub link: Vec<u8>,
    pub size: u64,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub mtime: (i64, u32),
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

pub struct Archive<R> {
    input: R,
    /// Bytes of the present entry that nobody has read, and the padding after them.
    left: u64,
    padding: u64,
    /// Take the end of the stream for the end of the archive, as some layers in the wild have no end marker.
    /// Only where the bytes were verified by digest before: else a cut archive would pass for a whole one.
    lenient_end: bool,
}

impl<R: Read> Archive<R> {
    pub fn new(input: R, lenient_end: bool) -> Self {
        Self {
            input,
            left: 0,
            padding: 0,
            lenient_end,
        }
    }

    /// The next entry, or none after the end marker.
    pub fn next_entry(&mut self) -> Outcome<Option<Entry>> {
        let mut extension = Extension::default();
        let mut extended = false;
        loop {
            self.skip_rest()?;
            let Some(header) = self.header()? else {
                if extended {
                    return Err(Failure::invalid(
                        "the archive ends after an extended header; it was cut",
                    ));
                }
                return Ok(None);
            };
            let size = header.entry_size().map_err(|_| damaged("a header's size"))?;
            match header.entry_type() {
                EntryType::XGlobalHeader => self.begin(size),
                EntryType::XHeader => {
                    let data = self.extension(size)?;
                    pax::parse(&data, &mut extension)?;
                    extended = true;
                }
                EntryType::GNULongName => {
                    extension.path = Some(without_nul(self.extension(size)?));
                    extended = true;
                }
                EntryType::GNULongLink => {
                    extension.link = Some(without_nul(self.extension(size)?));
                    extended = true;
                }
                _ => return self.entry(&header, size, extension).map(Some),
            }
        }
    }

    fn entry(&mut self, header: &Header, size: u64, extension: Extension) -> Outcome<Entry> {
        let name = extension.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = extension
            .link
            .or_else(|| header.link_name_bytes().map(|link| link.into_owned()))
            .unwrap_or_default();
        check_name(&name, "name")?;
        let kind = kind_of(header.entry_type(), &name).map_err(|failure| failure.at(&name))?;
        if matches!(kind, Kind::Symlink | Kind::Hardlink) {
            check_name(&link, "link target").map_err(|failure| failure.at(&name))?;
        }
        let size = extension.size.unwrap_or(size);
        // Links and directories carry no data, whatever their size field says (POSIX; old writers fill it).
        let size = if matches!(kind, Kind::File) { size } else { 0 };
        self.begin(size);
        let field = |value: io::Result<u64>, what: &str| value.map_err(|_| damaged(what).at(&name));
        Ok(Entry {
            kind,
            link,
            size,
            mode: header.mode().map_err(|_| damaged("a header's mode").at(&name))? & 0o7777,
            uid: extension
                .uid
                .map_or_else(|| field(header.uid(), "a header's uid"), Ok)?,
            gid: extension
                .gid
                .map_or_else(|| field(header.gid(), "a header's gid"), Ok)?,
            mtime: match extension.mtime {
                Some(time) => time,
                None => (field(header.mtime(), "a header's mtime")?.cast_signed(), 0),
            },
            attributes: extension.attributes,
            name,
        })
    }

    /// Reads of the present entry's data; zero at its end. A stream that ends before is an error.
    pub fn read_data(&mut self, buffer: &mut [u8]) -> Outcome<usize> {
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let count = read_some(&mut self.input, &mut buffer[..want])?;
        if count == 0 {
            return Err(cut());
        }
        self.left -= count as u64;
        Ok(count)
    }

    pub fn into_inner(self) -> R {
        self.input
    }

    fn begin(&mut self, size: u64) {
        self.left = size;
        let block = BLOCK_BYTES as u64;
        self.padding = (block - size % block) % block;
    }

    fn skip_rest(&mut self) -> Outcome<()> {
        let mut sink = [0_u8; 16 * 1024];
        while self.left > 0 || self.padding > 0 {
            if self.left == 0 {
                self.left = std::mem::take(&mut self.padding);
            }
            self.read_data(&mut sink)?;
        }
        Ok(())
    }

    fn header(&mut self) -> Outcome<Option<Header>> {
        let mut block = [0_u8; BLOCK_BYTES];
        let mut have = 0;
        while have < BLOCK_BYTES {
            let count = read_some(&mut self.input, &mut block[have..])?;
            if count == 0 {
                return if have == 0 && self.lenient_end {
                    Ok(None)
                } else {
                    Err(cut())
                };
            }
            have += count;
        }
        if block.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(&block);
        let stated = header.cksum().map_err(|_| not_tar())?;
        let sum: u32 = block
            .iter()
            .enumerate()
            .map(|(at, &byte)| {
                if CHECKSUM_FIELD.contains(&at) {
                    u32::from(b' ')
                } else {
                    u32::from(byte)
                }
            })
            .sum();
        if sum == stated {
            Ok(Some(header))
        } else {
            Err(not_tar())
        }
    }

    fn extension(&mut self, size: u64) -> Outcome<Vec<u8>> {
        if size > EXTENSION_BYTES {
            return Err(Failure::too_large(format!(
                "an extended header has {size} bytes; at most {EXTENSION_BYTES} are taken (extensionBytes)"
            )));
        }
        self.begin(size);
        let mut data = vec![0_u8; usize::try_from(size).map_err(|_| cut())?];
        let mut have = 0;
        while have < data.len() {
            have += self.read_data(&mut data[have..])?;
        }
        Ok(data)
    }
}

fn read_some(input: &mut impl Read, buffer: &mut [u8]) -> Outcome<usize> {
    loop {
        match input.read(buffer) {
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                return Err(Failure::too_large(error.to_string()));
            }
            Err(error) => return Err(Failure::from_io("read the archive", &error)),
        }
    }
}

fn kind_of(entry_type: EntryType, name: &[u8]) -> Outcome<Kind> {
    Ok(match entry_type {
        // Archives older than POSIX mark a directory by the slash alone.
        EntryType::Regular | EntryType::Continuous if name.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous => Kind::File,
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Link => Kind::Hardlink,
        EntryType::Fifo => Kind::Fifo,
        EntryType::Char | EntryType::Block => Kind::Device,
        EntryType::GNUSparse => return Err(pax::sparse()),
        other => {
            return Err(Failure::invalid(format!(
                "the entry's type {:?} is not known; write the archive in the pax or GNU format",
                char::from(other.as_byte())
            )));
        }
    })
}

fn check_name(name: &[u8], what: &str) -> Outcome<()> {
    if name.is_empty() {
        return Err(Failure::invalid(format!(
            "an entry's {what} is empty; the archive is damaged"
        )));
    }
    if name.len() > NAME_BYTES {
        return Err(Failure::too_large(format!(
            "an entry's {what} has {} bytes; at most {NAME_BYTES} are taken (nameBytes)",
            name.len()
        ))
        .at(name));
    }
    if name.contains(&0) {
        return Err(Failure::invalid(format!("an entry's {what} holds a NUL byte")).at(name));
    }
    Ok(())
}

fn without_nul(mut data: Vec<u8>) -> Vec<u8> {
    while data.last() == Some(&0) {
        data.pop();
    }
    data
}

fn damaged(what: &str) -> Failure {
    Failure::invalid(format!("{what} is not readable; the archive is damaged"))
}

fn not_tar() -> Failure {
    Failure::invalid("a header's checksum is wrong; this is no tar archive, or it is damaged")
}

fn cut() -> Failure {
    Failure::invalid("the archive ends before its end marker; it was cut, send it again")
}
