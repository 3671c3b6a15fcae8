//! Takes one path out of an archive as an archive of its own: what a `copy` step of a build names.
//! Nothing is written to disk by name; the result is a stream.
use crate::archive::{Archive, Entry, Kind};
use crate::decode::{Metered, decompress};
use crate::failure::{Failure, Outcome};
use crate::limits::Limits;
use crate::tree::Tree;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use tar::{Builder, EntryType, Header};

pub struct Selection {
    pub entries: u64,
    pub is_file: bool,
    /// Over names, kinds, modes, link targets and bytes in the names' order; not over times, owners
    /// and the order in the archive, which change without a change of the files.
    pub content_hash: String,
}

struct Selector<'a, W: Write> {
    from: Vec<&'a [u8]>,
    name: &'a str,
    output: Builder<W>,
    hashes: BTreeMap<Vec<u8>, [u8; 32]>,
    is_file: bool,
    found: bool,
    content_bytes: u64,
    limits: Limits,
}

/// Copies what lies at `from`; a single file goes by `name`, a directory's content by names relative to it.
pub fn select(input: impl Read, output: impl Write, from: &str, name: &str, limits: Limits) -> Outcome<Selection> {
    let from = Tree::components(from.as_bytes())?;
    let mut archive = Archive::new(Metered::new(decompress(input)?, limits.archive_bytes), false);
    let found = from.is_empty();
    let output = Builder::new(output);
    let mut selector = Selector {
        from,
        name,
        output,
        hashes: BTreeMap::new(),
        is_file: false,
        found,
        content_bytes: 0,
        limits,
    };
    let mut entries = 0_u64;
    while let Some(entry) = archive.next_entry()? {
        entries += 1;
        if entries > limits.entries {
            return Err(Failure::too_large(format!(
                "the archive has over {} entries (entries)",
                limits.entries
            )));
        }
        selector
            .take(&mut archive, &entry)
            .map_err(|failure| failure.at(&entry.name))?;
    }
    selector.finish()
}

impl<W: Write> Selector<'_, W> {
    fn take<R: Read>(&mut self, archive: &mut Archive<R>, entry: &Entry) -> Outcome<()> {
        let parts = Tree::components(&entry.name)?;
        let Some(rest) = parts.strip_prefix(self.from.as_slice()) else {
            return Ok(());
        };
        let name = if rest.is_empty() {
            self.found = true;
            match entry.kind {
                Kind::Directory => return Ok(()),
                Kind::File => self.is_file = true,
                _ => {
                    return Err(Failure::invalid(
                        "what the step copies is neither a file nor a directory",
                    ));
                }
            }
            self.name.as_bytes().to_vec()
        } else {
            self.found = true;
            rest.join(&b'/')
        };
        match entry.kind {
            Kind::File => self.file(archive, entry, &name),
            Kind::Directory => self.bare(entry, &name, EntryType::Directory, b"", b"d"),
            Kind::Fifo => self.bare(entry, &name, EntryType::Fifo, b"", b"p"),
            Kind::Symlink => self.bare(entry, &name, EntryType::Symlink, &entry.link, b"l"),
            Kind::Hardlink => {
                let target = Tree::components(&entry.link)?;
                let Some(target) = target
                    .strip_prefix(self.from.as_slice())
                    .filter(|rest| !rest.is_empty())
                else {
                    return Err(Failure::invalid("a hard link leads out of what the step copies"));
                };
                self.bare(entry, &name, EntryType::Link, &target.join(&b'/'), b"h")
            }
            Kind::Device => Ok(()),
        }
    }

    fn file<R: Read>(&mut self, archive: &mut Archive<R>, entry: &Entry, name: &[u8]) -> Outcome<()> {
        self.content_bytes += entry.size;
        if entry.size > self.limits.file_bytes || self.content_bytes > self.limits.content_bytes {
            return Err(Failure::too_large(
                "the files to copy are over the limit (fileBytes, contentBytes)",
            ));
        }
        let mut header = header(entry, EntryType::Regular, entry.size);
        let mut reader = Hashed {
            archive,
            hash: begin(entry, b"f", b""),
            failure: None,
        };
        let written = self
            .output
            .append_data(&mut header, Path::new(OsStr::from_bytes(name)), &mut reader);
        if let Some(failure) = reader.failure {
            return Err(failure);
        }
        let hash = reader.hash.finalize().into();
        written.map_err(|error| Failure::from_io("write what is copied", &error))?;
        self.hashes.insert(name.to_vec(), hash);
        Ok(())
    }

    fn bare(&mut self, entry: &Entry, name: &[u8], kind: EntryType, link: &[u8], mark: &[u8]) -> Outcome<()> {
        let mut header = header(entry, kind, 0);
        let path = Path::new(OsStr::from_bytes(name));
        let written = if link.is_empty() {
            self.output.append_data(&mut header, path, io::empty())
        } else {
            self.output
                .append_link(&mut header, path, Path::new(OsStr::from_bytes(link)))
        };
        written.map_err(|error| Failure::from_io("write what is copied", &error))?;
        self.hashes
            .insert(name.to_vec(), begin(entry, mark, link).finalize().into());
        Ok(())
    }

    fn finish(mut self) -> Outcome<Selection> {
        if !self.found {
            return Err(Failure {
                code: "not_found",
                message: "the build context has nothing of that name; upload a context with it".to_owned(),
                entry: None,
            });
        }
        self.output
            .finish()
            .map_err(|error| Failure::from_io("write what is copied", &error))?;
        let mut all = Sha256::new();
        for (name, hash) in &self.hashes {
            all.update((name.len() as u64).to_be_bytes());
            all.update(name);
            all.update(hash);
        }
        let hex: String = all.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let content_hash = format!("sha256:{hex}");
        Ok(Selection {
            entries: self.hashes.len() as u64,
            is_file: self.is_file,
            content_hash,
        })
    }
}

fn begin(entry: &Entry, mark: &[u8], link: &[u8]) -> Sha256 {
    let mut hash = Sha256::new();
    hash.update(mark);
    hash.update(entry.mode.to_be_bytes());
    hash.update((link.len() as u64).to_be_bytes());
    hash.update(link);
    hash
}

/// The owner is whoever unpacks it in the sandbox.
fn header(entry: &Entry, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(entry.mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(u64::try_from(entry.mtime.0).unwrap_or(0));
    header
}

/// An entry's data as a reader that hashes what passes.
struct Hashed<'a, R> {
    archive: &'a mut Archive<R>,
    hash: Sha256,
    failure: Option<Failure>,
}

impl<R: Read> Read for Hashed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.archive.read_data(buffer) {
            Ok(count) => {
                self.hash.update(&buffer[..count]);
                Ok(count)
            }
            Err(failure) => {
                let error = io::Error::other(failure.message.clone());
                self.failure = Some(failure);
                Err(error)
            }
        }
    }
}
