//! The head of one entry of a layer: a ustar header, and before it a pax header with what does not fit.
//! Names are bytes, as the kernel's are.

use std::io;

use tar::{EntryType, Header};

use super::{ATTRIBUTE, LITERAL, MODIFIED, WHITEOUT};

pub const BLOCK_BYTES: usize = 512;

/// What is told of an entry.
pub struct Entry<'a> {
    pub kind: EntryType,
    pub path: &'a [u8],
    pub link: &'a [u8],
    pub found: &'a libc::stat,
    pub size: u64,
    pub attributes: &'a [(Vec<u8>, Vec<u8>)],
}

impl Entry<'_> {
    pub fn head(&self) -> io::Result<Vec<u8>> {
        let mut extra = Vec::new();
        let time = format!("{}.{}", self.found.st_mtime, self.found.st_mtime_nsec);
        record(&mut extra, MODIFIED, time.as_bytes());
        let name = self.path.rsplit(|byte| *byte == b'/').find(|part| !part.is_empty());
        if name.is_some_and(|name| name.starts_with(WHITEOUT)) {
            record(&mut extra, LITERAL, b"1");
        }
        for (name, value) in self.attributes {
            record(&mut extra, &[ATTRIBUTE, name].concat(), value);
        }
        let mut header = Header::new_ustar();
        header.set_entry_type(self.kind);
        header.set_mode(self.found.st_mode & 0o7777);
        header.set_uid(self.found.st_uid.into());
        header.set_gid(self.found.st_gid.into());
        header.set_mtime(self.found.st_mtime.max(0) as u64);
        header.set_size(self.size);
        let ustar = header.as_ustar_mut().ok_or(io::ErrorKind::Other)?;
        put(&mut ustar.name, b"path", self.path, &mut extra);
        put(&mut ustar.linkname, b"linkpath", self.link, &mut extra);
        header.set_cksum();
        let mut bytes = pax(&extra)?;
        bytes.extend_from_slice(header.as_bytes());
        Ok(bytes)
    }
}

/// The mark that something of the template is gone: an empty file.
pub fn mark(path: &[u8]) -> io::Result<Vec<u8>> {
    let mut header = Header::new_ustar();
    let mut extra = Vec::new();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    let ustar = header.as_ustar_mut().ok_or(io::ErrorKind::Other)?;
    put(&mut ustar.name, b"path", path, &mut extra);
    header.set_cksum();
    let mut bytes = if extra.is_empty() { Vec::new() } else { pax(&extra)? };
    bytes.extend_from_slice(header.as_bytes());
    Ok(bytes)
}

fn pax(records: &[u8]) -> io::Result<Vec<u8>> {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::XHeader);
    header.set_path("pax")?;
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(records.len() as u64);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(records);
    bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
    Ok(bytes)
}

/// Puts a name into its field, or what fits of it there and all of it into a pax record.
fn put(field: &mut [u8; 100], key: &[u8], name: &[u8], extra: &mut Vec<u8>) {
    let fits = name.len().min(field.len());
    field[..fits].copy_from_slice(&name[..fits]);
    if name.len() > field.len() || !name.is_ascii() {
        record(extra, key, name);
    }
}

/// A pax record counts its own length, the length of the number included.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    let start = format!("{length} ");
    for part in [start.as_bytes(), key, b"=", value, b"\n"] {
        records.extend_from_slice(part);
    }
}
