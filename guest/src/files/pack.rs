//! `GET /v1/tar`: a folder's content, or one file, as a pax archive.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use http::{HeaderValue, Response, header};
use tar::{EntryType, Header};

use super::path::{FOLDER_FLAGS, Target, fstat, lstat, open_folder, read_link_at, split, target};
use super::read::PIECE_BYTES;
use crate::agent::Agent;
use crate::http::body::{ResponseBody, Sender};
use crate::http::error::Answer;
use crate::http::query::Query;
use crate::kernel::{descriptor, folder};

const BLOCK_BYTES: usize = 512;
/// Each level holds a descriptor.
const DEPTH_MAX: usize = 1_024;

pub fn call(agent: &Agent, query: &Query) -> Answer<Response<ResponseBody>> {
    let target = target(agent, query.required("path")?, query.get("user"))?;
    let start = target.act("pack", || {
        // Whatever is named is followed, as a read follows it; what is below is not.
        let opened = descriptor::open(&target.path, libc::O_PATH)?;
        if fstat(opened.as_raw_fd())?.st_mode & libc::S_IFMT == libc::S_IFDIR {
            let folder = open_folder(&target.text)?;
            let names = folder::names(folder.as_raw_fd(), usize::MAX)?;
            return Ok(vec![Level { folder, prefix: String::new(), names }]);
        }
        Ok(Vec::new())
    })?;
    let levels = if start.is_empty() { single(&target)? } else { start };
    let body = ResponseBody::streamed(None, |sender| pack(sender, target, levels));
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("application/x-tar");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

fn single(target: &Target) -> Answer<Vec<Level>> {
    let (above, name) = split(&target.text)?;
    let name = CString::new(name).unwrap_or_default();
    let folder = target.act("pack", || open_folder(above))?;
    Ok(vec![Level { folder, prefix: String::new(), names: vec![name] }])
}

/// A folder whose names are still to be packed.
struct Level {
    folder: OwnedFd,
    prefix: String,
    names: Vec<CString>,
}

/// One entry as it goes into the archive.
struct Item {
    head: Vec<u8>,
    content: Option<(OwnedFd, u64)>,
    below: Option<Level>,
}

async fn pack(sender: Sender, target: Target, mut levels: Vec<Level>) -> io::Result<()> {
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.pop() else {
            levels.pop();
            continue;
        };
        let item = target.user.credentials.run(|| item(level, &name))??;
        let Some(item) = item else { continue };
        sender.send(item.head).await;
        if let Some((file, size)) = item.content {
            send_content(&sender, file, size).await?;
        }
        if let Some(below) = item.below {
            if levels.len() >= DEPTH_MAX {
                return Err(io::Error::other("the folders are too deep to pack"));
            }
            levels.push(below);
        }
    }
    sender.send(vec![0; 2 * BLOCK_BYTES]).await;
    Ok(())
}

/// Looks at an entry and opens what it needs; `None` for what no archive holds or what is gone.
fn item(level: &Level, name: &CString) -> io::Result<Option<Item>> {
    let here = level.folder.as_raw_fd();
    let found = match lstat(here, name) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let path = format!("{}{}", level.prefix, name.to_string_lossy());
    let item = match found.st_mode & libc::S_IFMT {
        libc::S_IFREG => {
            let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
            let file = descriptor::open_at(here, name, flags, 0)?;
            let found = fstat(file.as_raw_fd())?;
            let size = found.st_size as u64;
            let head = head(EntryType::Regular, &path, &found, size, None)?;
            Item { head, content: Some((file, size)), below: None }
        }
        libc::S_IFDIR => {
            let flags = FOLDER_FLAGS | libc::O_NOFOLLOW;
            let folder = descriptor::open_at(here, name, flags, 0)?;
            let names = folder::names(folder.as_raw_fd(), usize::MAX)?;
            let prefix = format!("{path}/");
            let head = head(EntryType::Directory, &prefix, &found, 0, None)?;
            Item { head, content: None, below: Some(Level { folder, prefix, names }) }
        }
        libc::S_IFLNK => {
            let link = read_link_at(here, name)?;
            let link = String::from_utf8_lossy(&link).into_owned();
            let head = head(EntryType::Symlink, &path, &found, 0, Some(&link))?;
            Item { head, content: None, below: None }
        }
        libc::S_IFIFO => {
            let head = head(EntryType::Fifo, &path, &found, 0, None)?;
            Item { head, content: None, below: None }
        }
        _ => return Ok(None),
    };
    Ok(Some(item))
}

/// The header, with a pax header before it where a name or size does not fit.
fn head(
    kind: EntryType,
    path: &str,
    found: &libc::stat,
    size: u64,
    link: Option<&str>,
) -> io::Result<Vec<u8>> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(found.st_mode & 0o7777);
    header.set_uid(found.st_uid.into());
    header.set_gid(found.st_gid.into());
    header.set_mtime(found.st_mtime.max(0) as u64);
    header.set_size(size);
    let mut extra = Vec::new();
    put_name(
        &mut header.as_ustar_mut().ok_or(io::ErrorKind::Other)?.name,
        "path",
        path,
        &mut extra,
    );
    if let Some(link) = link {
        let place = &mut header.as_ustar_mut().ok_or(io::ErrorKind::Other)?.linkname;
        put_name(place, "linkpath", link, &mut extra);
    }
    header.set_cksum();
    let mut bytes = Vec::new();
    if !extra.is_empty() {
        let mut pax = Header::new_ustar();
        pax.set_entry_type(EntryType::XHeader);
        pax.set_path("pax")?;
        pax.set_mode(0o644);
        pax.set_size(extra.len() as u64);
        pax.set_cksum();
        bytes.extend_from_slice(pax.as_bytes());
        bytes.extend_from_slice(&extra);
        bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
    }
    bytes.extend_from_slice(header.as_bytes());
    Ok(bytes)
}

/// Puts a name into its field, or what fits of it there and all of it into a pax record.
fn put_name(field: &mut [u8; 100], key: &str, name: &str, extra: &mut Vec<u8>) {
    let bytes = name.as_bytes();
    let fits = bytes.len().min(field.len());
    field[..fits].copy_from_slice(&bytes[..fits]);
    if bytes.len() > field.len() || !name.is_ascii() {
        extra.extend_from_slice(&record(key, name));
    }
}

/// A pax record counts its own length, the length of the number included.
fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    format!("{length} {key}={value}\n").into_bytes()
}

/// Exactly as many bytes as the header says: a file that grew is cut, one that shrank is an error.
async fn send_content(sender: &Sender, file: OwnedFd, size: u64) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::record;

    #[test]
    fn a_record_counts_itself() {
        for length in [1, 90, 91, 92, 93, 989, 990, 991, 4_000] {
            let bytes = record("path", &"x".repeat(length));
            let text = String::from_utf8(bytes.clone()).unwrap();
            assert_eq!(text.split(' ').next().unwrap().parse::<usize>().unwrap(), bytes.len());
        }
    }
}
