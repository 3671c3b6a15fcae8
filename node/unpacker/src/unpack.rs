//! One archive into a tree.
use crate::archive::{Archive, Entry, Kind};
use crate::attributes;
use crate::decode::{Metered, decompress};
use crate::failure::{Failure, Outcome};
use crate::limits::Limits;
use crate::report::Report;
use crate::tree::{self, Place, Tree, c_string, check};
use crate::whiteout::{self, mark};
use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};

/// What the archive is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// A whole root filesystem.
    Root,
    /// A layer over what is there: whiteouts mean something. Its bytes were verified before.
    Layer,
    /// Files and directories alone, for the host to read afterwards: an OCI archive.
    Plain,
}

struct Unpacker<'a> {
    tree: &'a Tree,
    flavour: Flavour,
    limits: Limits,
    report: Report,
    /// Inodes that this archive made; a number is only used again for something of this archive.
    fresh: HashSet<u64>,
    directories: Vec<(Vec<u8>, (i64, u32))>,
    buffer: Vec<u8>,
}

const COPY_BUFFER_BYTES: usize = 256 * 1024;

/// Unpacks the stream and reads it to its end.
pub fn unpack(tree: &Tree, input: impl Read, flavour: Flavour, limits: Limits) -> Outcome<Report> {
    let metered = Metered::new(decompress(input)?, limits.archive_bytes);
    let mut archive = Archive::new(metered, flavour == Flavour::Layer);
    let mut unpacker = Unpacker {
        tree,
        flavour,
        limits,
        report: Report::default(),
        fresh: HashSet::new(),
        directories: Vec::new(),
        buffer: vec![0; COPY_BUFFER_BYTES],
    };
    while let Some(entry) = archive.next_entry()? {
        unpacker
            .take(&mut archive, &entry)
            .map_err(|failure| failure.at(&entry.name))?;
    }
    unpacker.finish_directories()?;
    let (bytes, hash) = archive.into_inner().finish().map_err(|error| {
        if error.kind() == std::io::ErrorKind::FileTooLarge {
            Failure::too_large(error.to_string())
        } else {
            Failure::from_io("read the archive's end", &error)
        }
    })?;
    unpacker.report.archive_bytes = bytes;
    unpacker.report.diff_id = hash;
    Ok(unpacker.report)
}

impl Unpacker<'_> {
    fn take<R: Read>(&mut self, archive: &mut Archive<R>, entry: &Entry) -> Outcome<()> {
        self.report.entries += 1;
        if self.report.entries > self.limits.entries {
            return Err(Failure::too_large(format!(
                "the archive has over {} entries (entries)",
                self.limits.entries
            )));
        }
        if self.flavour == Flavour::Plain && !matches!(entry.kind, Kind::File | Kind::Directory) {
            return Err(Failure::invalid(
                "only files and directories are taken here; this is no OCI archive",
            ));
        }
        let parts = Tree::components(&entry.name)?;
        let Some(last) = parts.last() else {
            return self.root(entry);
        };
        if self.flavour == Flavour::Layer
            && let Some(found) = mark(last)?
        {
            self.report.whiteouts += 1;
            return whiteout::apply(self.tree, &parts, &found, &self.fresh);
        }
        if entry.kind == Kind::Device {
            self.report.devices.add(&entry.name);
            return Ok(());
        }
        let mut made = Vec::new();
        let place = self.tree.place(&parts, &mut made)?;
        self.fresh.extend(made);
        match entry.kind {
            Kind::Directory => self.directory(&place, entry)?,
            Kind::File => self.file(&place, entry, archive)?,
            Kind::Hardlink => self.hardlink(&place, entry)?,
            Kind::Symlink => self.symlink(&place, entry)?,
            Kind::Fifo => self.fifo(&place, entry)?,
            Kind::Device => {}
        }
        let found = tree::stat(place.parent.as_raw_fd(), &place.name)
            .map_err(|error| Failure::from_io("stat what was made", &error))?;
        self.fresh.insert(found.st_ino);
        Ok(())
    }

    fn root(&mut self, entry: &Entry) -> Outcome<()> {
        if entry.kind != Kind::Directory {
            return Err(Failure::invalid("the entry would replace the root"));
        }
        let root = self
            .tree
            .resolve(&[])
            .map_err(|error| Failure::from_io("open the root", &error))?;
        let root = tree::open_at(root.as_raw_fd(), c".", libc::O_RDONLY | libc::O_DIRECTORY, 0)
            .map_err(|error| Failure::from_io("open the root", &error))?;
        attributes::apply(&root, entry, &mut self.report.attributes)
    }

    fn directory(&mut self, place: &Place, entry: &Entry) -> Outcome<()> {
        let parent = place.parent.as_raw_fd();
        let there = tree::stat(parent, &place.name).is_ok_and(|found| found.st_mode & libc::S_IFMT == libc::S_IFDIR);
        if !there {
            clear(place)?;
            // SAFETY: the name lives over the call.
            check(unsafe { libc::mkdirat(parent, place.name.as_ptr(), 0o700) })
                .map_err(|error| Failure::from_io("make a directory", &error))?;
        }
        let fd = tree::open_at(parent, &place.name, libc::O_RDONLY | libc::O_DIRECTORY, 0)
            .map_err(|error| Failure::from_io("open a directory", &error))?;
        attributes::apply(&fd, entry, &mut self.report.attributes)?;
        self.directories.push((entry.name.clone(), entry.mtime));
        Ok(())
    }

    fn file<R: Read>(&mut self, place: &Place, entry: &Entry, archive: &mut Archive<R>) -> Outcome<()> {
        if entry.size > self.limits.file_bytes {
            return Err(Failure::too_large(format!(
                "the file has {} bytes; at most {} are taken (fileBytes)",
                entry.size, self.limits.file_bytes
            )));
        }
        self.report.content_bytes += entry.size;
        if self.report.content_bytes > self.limits.content_bytes {
            return Err(Failure::too_large(format!(
                "the archive's files have over {} bytes together (contentBytes)",
                self.limits.content_bytes
            )));
        }
        clear(place)?;
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL;
        let fd = tree::open_at(place.parent.as_raw_fd(), &place.name, flags, 0o600)
            .map_err(|error| Failure::from_io("make a file", &error))?;
        let mut file = File::from(fd);
        loop {
            let count = archive.read_data(&mut self.buffer)?;
            if count == 0 {
                break;
            }
            file.write_all(&self.buffer[..count])
                .map_err(|error| Failure::from_io("write a file", &error))?;
        }
        attributes::apply(&OwnedFd::from(file), entry, &mut self.report.attributes)
    }

    fn hardlink(&mut self, place: &Place, entry: &Entry) -> Outcome<()> {
        let missing = || Failure::invalid("the hard link's target is not in the archive before it");
        let parts = Tree::components(&entry.link)?;
        let target = self.tree.find(&parts)?.ok_or_else(missing)?;
        let found = tree::stat(target.parent.as_raw_fd(), &target.name).map_err(|_| missing())?;
        if found.st_mode & libc::S_IFMT == libc::S_IFDIR {
            return Err(Failure::invalid("a hard link to a directory is refused"));
        }
        let there = tree::stat(place.parent.as_raw_fd(), &place.name);
        if there.is_ok_and(|there| there.st_ino == found.st_ino) {
            return Ok(());
        }
        clear(place)?;
        // SAFETY: both names live over the call; without AT_SYMLINK_FOLLOW the target is not followed.
        let result = unsafe {
            libc::linkat(
                target.parent.as_raw_fd(),
                target.name.as_ptr(),
                place.parent.as_raw_fd(),
                place.name.as_ptr(),
                0,
            )
        };
        check(result).map_err(|error| Failure::from_io("make a hard link", &error))
    }

    fn symlink(&mut self, place: &Place, entry: &Entry) -> Outcome<()> {
        clear(place)?;
        let target = c_string(&entry.link)?;
        // SAFETY: both strings live over the call. The target is text; it is only ever resolved inside the root.
        check(unsafe { libc::symlinkat(target.as_ptr(), place.parent.as_raw_fd(), place.name.as_ptr()) })
            .map_err(|error| Failure::from_io("make a symlink", &error))?;
        attributes::apply_by_name(place, entry, &mut self.report.attributes)
    }

    fn fifo(&mut self, place: &Place, entry: &Entry) -> Outcome<()> {
        clear(place)?;
        // SAFETY: the name lives over both calls; the fifo was made just now, so there is no link to follow.
        unsafe {
            check(libc::mkfifoat(place.parent.as_raw_fd(), place.name.as_ptr(), 0o600)).and_then(|()| {
                check(libc::fchmodat(
                    place.parent.as_raw_fd(),
                    place.name.as_ptr(),
                    entry.mode,
                    0,
                ))
            })
        }
        .map_err(|error| Failure::from_io("make a fifo", &error))?;
        attributes::apply_by_name(place, entry, &mut self.report.attributes)
    }

    /// A directory's time changes with every entry in it, so times come last.
    fn finish_directories(&mut self) -> Outcome<()> {
        for (name, mtime) in std::mem::take(&mut self.directories) {
            let parts = Tree::components(&name)?;
            let Some(place) = self.tree.find(&parts)? else { continue };
            let parent = place.parent.as_raw_fd();
            // A later entry may have put something else there.
            if tree::stat(parent, &place.name).is_ok_and(|found| found.st_mode & libc::S_IFMT == libc::S_IFDIR) {
                attributes::set_times(parent, &place.name, mtime)?;
            }
        }
        Ok(())
    }
}

/// The later of two entries with one name counts.
fn clear(place: &Place) -> Outcome<()> {
    tree::remove(place.parent.as_raw_fd(), &place.name)
        .map(|_| ())
        .map_err(|error| Failure::from_io("replace what was there", &error))
}
