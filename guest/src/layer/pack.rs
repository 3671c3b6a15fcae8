//! `GET /v1/layer`: walks the overlay's upper folder.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use http::{HeaderValue, Response, header};
use tar::EntryType;

use super::header::{BLOCK_BYTES, Entry, mark};
use super::{OPAQUE, WHITEOUT, attributes, is_left_out};
use crate::agent::Agent;
use crate::files::path::{FOLDER_FLAGS, fstat, lstat, read_link_at};
use crate::files::read::PIECE_BYTES;
use crate::http::body::{ResponseBody, Sender};
use crate::http::error::{Answer, Code, Refusal};
use crate::kernel::{descriptor, folder};
use crate::limits::disk;

/// Each level holds a descriptor.
const DEPTH_MAX: usize = 1_024;
/// Files with several names that are remembered by their first.
const HARD_LINKED_MAX: usize = 1 << 18;
/// Pieces of content between two turns of others are the sender's; entries without content are so many.
const TURN_ENTRIES: usize = 64;

pub fn call(agent: &Agent) -> Answer<Response<ResponseBody>> {
    let Some(upper) = &agent.upper else {
        let message =
            "cannot pack the disk's layer: the host has made this root, and saves it itself";
        return Err(Refusal::new(Code::Unsupported, message));
    };
    let cannot = |error: io::Error| Refusal::io("pack", "the disk's layer", &error);
    // A descriptor of its own: reading a folder moves its offset.
    let root = descriptor::open_at(upper.as_raw_fd(), c".", FOLDER_FLAGS, 0).map_err(cannot)?;
    let packing = Packing::begin(root).map_err(cannot)?;
    let body = ResponseBody::streamed(None, |sender| pack(sender, packing));
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("application/x-tar");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

async fn pack(sender: Sender, mut packing: Packing) -> io::Result<()> {
    let mut entries = 0;
    while let Some(item) = packing.next().inspect_err(|error| {
        eprintln!("atoll-agent: cannot pack the disk's layer: {error}");
    })? {
        sender.send(item.head).await;
        if let Some((file, size)) = item.content {
            send_content(&sender, &file, size).await?;
        }
        entries += 1;
        if entries % TURN_ENTRIES == 0 {
            tokio::task::yield_now().await;
        }
    }
    sender.send(vec![0; 2 * BLOCK_BYTES]).await;
    Ok(())
}

/// A folder whose names are still to be packed.
struct Level {
    folder: OwnedFd,
    prefix: Vec<u8>,
    names: Vec<CString>,
}

/// One entry as it goes into the archive; a head may hold more than one.
pub struct Item {
    pub head: Vec<u8>,
    pub content: Option<(OwnedFd, u64)>,
}

pub struct Packing {
    levels: Vec<Level>,
    /// Path of the first name by device and inode.
    linked: HashMap<(u64, u64), Vec<u8>>,
    /// No file can hold more than this but by holes, and holes are written out.
    file_max_bytes: u64,
}

impl Packing {
    pub fn begin(root: OwnedFd) -> io::Result<Self> {
        let names = folder::names(root.as_raw_fd(), usize::MAX)?;
        let level = Level { folder: root, prefix: Vec::new(), names };
        let file_max_bytes = disk::measure().map_or(u64::MAX, |disk| disk.size_bytes);
        Ok(Self { levels: vec![level], linked: HashMap::new(), file_max_bytes })
    }

    pub fn next(&mut self) -> io::Result<Option<Item>> {
        while let Some(level) = self.levels.last_mut() {
            let Some(name) = level.names.pop() else {
                self.levels.pop();
                continue;
            };
            let path = [&level.prefix, name.to_bytes()].concat();
            if is_left_out(&path) {
                continue;
            }
            let here = level.folder.as_raw_fd();
            let found = match lstat(here, &name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                found => found?,
            };
            if let Some(item) = self.item(here, &name, path, &found)? {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    fn item(
        &mut self,
        here: i32,
        name: &CString,
        path: Vec<u8>,
        found: &libc::stat,
    ) -> io::Result<Option<Item>> {
        let plain = |kind, link: &[u8]| -> io::Result<Option<Item>> {
            let entry = Entry { kind, path: &path, link, found, size: 0, attributes: &[] };
            Ok(Some(Item { head: entry.head()?, content: None }))
        };
        match found.st_mode & libc::S_IFMT {
            libc::S_IFREG => self.file(here, name, path, found),
            libc::S_IFDIR => self.folder(here, name, path, found).map(Some),
            libc::S_IFLNK => plain(EntryType::Symlink, &read_link_at(here, name)?),
            libc::S_IFIFO => plain(EntryType::Fifo, b""),
            libc::S_IFCHR if found.st_rdev == 0 => {
                let start = path.len() - name.to_bytes().len();
                let path = [&path[..start], WHITEOUT, &path[start..]].concat();
                Ok(Some(Item { head: mark(&path)?, content: None }))
            }
            // Devices and sockets are nobody's data.
            _ => Ok(None),
        }
    }

    fn file(
        &mut self,
        here: i32,
        name: &CStr,
        path: Vec<u8>,
        found: &libc::stat,
    ) -> io::Result<Option<Item>> {
        let key = (found.st_dev, found.st_ino);
        if found.st_nlink > 1 {
            if let Some(first) = self.linked.get(&key) {
                let kind = EntryType::Link;
                let entry =
                    Entry { kind, path: &path, link: first, found, size: 0, attributes: &[] };
                return Ok(Some(Item { head: entry.head()?, content: None }));
            }
            if self.linked.len() >= HARD_LINKED_MAX {
                return Err(io::Error::other(format!(
                    "over {HARD_LINKED_MAX} files have several names"
                )));
            }
            self.linked.insert(key, path.clone());
        }
        let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = descriptor::open_at(here, name, flags, 0)?;
        let found = fstat(file.as_raw_fd())?;
        let size = found.st_size as u64;
        if size > self.file_max_bytes {
            let shown = String::from_utf8_lossy(&path);
            return Err(io::Error::other(format!(
                "/{shown} has {size} bytes, most of them holes, and the disk only {}",
                self.file_max_bytes
            )));
        }
        let attributes = attributes::all(file.as_raw_fd())?;
        let kind = EntryType::Regular;
        let entry =
            Entry { kind, path: &path, link: b"", found: &found, size, attributes: &attributes };
        Ok(Some(Item { head: entry.head()?, content: Some((file, size)) }))
    }

    fn folder(
        &mut self,
        here: i32,
        name: &CStr,
        path: Vec<u8>,
        found: &libc::stat,
    ) -> io::Result<Item> {
        if self.levels.len() >= DEPTH_MAX {
            return Err(io::Error::other(format!("the folders are over {DEPTH_MAX} deep")));
        }
        let folder = descriptor::open_at(here, name, FOLDER_FLAGS | libc::O_NOFOLLOW, 0)?;
        let prefix = [&path[..], b"/"].concat();
        let attributes = attributes::all(folder.as_raw_fd())?;
        let kind = EntryType::Directory;
        let entry =
            Entry { kind, path: &prefix, link: b"", found, size: 0, attributes: &attributes };
        let mut head = entry.head()?;
        // Before everything that lies in it: it empties the folder.
        if attributes::is_opaque(folder.as_raw_fd())? {
            head.extend_from_slice(&mark(&[&prefix[..], OPAQUE].concat())?);
        }
        let names = folder::names(folder.as_raw_fd(), usize::MAX)?;
        self.levels.push(Level { folder, prefix, names });
        Ok(Item { head, content: None })
    }
}

/// Exactly as many bytes as the header says: a file that grew is cut, one that shrank is an error.
async fn send_content(sender: &Sender, file: &OwnedFd, size: u64) -> io::Result<()> {
    let mut at = 0;
    while at < size {
        let mut piece = vec![0; PIECE_BYTES.min((size - at) as usize)];
        let count = descriptor::read_at(file.as_raw_fd(), &mut piece, at)?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a file became shorter"));
        }
        piece.truncate(count);
        at += count as u64;
        sender.send(piece).await;
    }
    let rest = size.next_multiple_of(BLOCK_BYTES as u64) - size;
    if rest > 0 {
        sender.send(vec![0; rest as usize]).await;
    }
    Ok(())
}
