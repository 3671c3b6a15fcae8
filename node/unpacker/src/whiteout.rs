//! Whiteouts of OCI layers: `.wh.NAME` removes NAME of the layers below, `.wh..wh..opq` everything
//! of them in its directory. What the present layer made stays, in whatever order the entries come.
use crate::failure::{Failure, Outcome};
use crate::tree::{self, Place, Tree};
use std::collections::HashSet;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

const PREFIX: &[u8] = b".wh.";
const META_PREFIX: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

pub enum Mark<'a> {
    Hide(&'a [u8]),
    Opaque,
    /// Book-keeping of other storage drivers.
    Ignored,
}

/// What a name stands for in a layer; undefined for an ordinary one.
pub fn mark(name: &[u8]) -> Outcome<Option<Mark<'_>>> {
    if name == OPAQUE {
        return Ok(Some(Mark::Opaque));
    }
    if name.starts_with(META_PREFIX) {
        return Ok(Some(Mark::Ignored));
    }
    match name.strip_prefix(PREFIX) {
        None => Ok(None),
        // `.wh...` would name the directory above.
        Some(b"" | b"." | b"..") => Err(Failure::invalid("a whiteout names no entry; the layer is damaged")),
        Some(hidden) => Ok(Some(Mark::Hide(hidden))),
    }
}

/// Applies a whiteout; `fresh` holds the inodes that this layer made.
pub fn apply(tree: &Tree, parts: &[&[u8]], mark: &Mark<'_>, fresh: &HashSet<u64>) -> Outcome<()> {
    let above = parts.split_last().map_or(parts, |(_, above)| above);
    let result = match mark {
        Mark::Ignored => Ok(()),
        Mark::Opaque => match tree.resolve(above) {
            Ok(directory) => clear(&directory, fresh),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            Err(error) => Err(error),
        },
        Mark::Hide(name) => {
            let mut hidden = above.to_vec();
            hidden.push(name);
            match tree.find(&hidden)? {
                Some(Place { parent, name }) => hide(parent.as_raw_fd(), &name, fresh),
                None => Ok(()),
            }
        }
    };
    result.map_err(|error| Failure::from_io("apply a whiteout", &error))
}

fn hide(parent: i32, name: &CStr, fresh: &HashSet<u64>) -> io::Result<()> {
    let found = match tree::stat(parent, name) {
        Ok(found) => found,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
        Err(error) => return Err(error),
    };
    let fresh_itself = fresh.contains(&found.st_ino);
    if found.st_mode & libc::S_IFMT != libc::S_IFDIR {
        return if fresh_itself {
            Ok(())
        } else {
            tree::unlink(parent, name, 0)
        };
    }
    clear(
        &tree::open_at(parent, name, libc::O_RDONLY | libc::O_DIRECTORY, 0)?,
        fresh,
    )?;
    if fresh_itself {
        return Ok(());
    }
    match tree::unlink(parent, name, libc::AT_REMOVEDIR) {
        // This layer put something into a directory of the layers below without naming the directory.
        Err(error) if error.raw_os_error() == Some(libc::ENOTEMPTY) => Ok(()),
        result => result,
    }
}

fn clear(directory: &OwnedFd, fresh: &HashSet<u64>) -> io::Result<()> {
    for name in tree::list(directory)? {
        hide(directory.as_raw_fd(), &name, fresh)?;
    }
    Ok(())
}
