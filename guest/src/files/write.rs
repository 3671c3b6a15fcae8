//! `PUT /v1/files`: a temporary file beside the target, synced, checked and renamed, so that a
//! body that ends early changes nothing (invariant 1).

use std::cell::Cell;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use http::{HeaderMap, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::make::{FOLDER_MODE, MODE_MAX};
use super::path::{Target, fstat, lstat, make_parents, open_folder, split, sync, target};
use super::read::PIECE_BYTES;
use crate::agent::Agent;
use crate::http::body::ResponseBody;
use crate::http::error::{Answer, Code, Refusal};
use crate::http::query::Query;
use crate::http::request::{self, Part};
use crate::http::serve::reply;
use crate::kernel::descriptor;

const SIZE: &str = "x-atoll-size";
const SHA256: &str = "x-atoll-sha256";
const FILE_MODE: u32 = 0o644;
const TEMPORARY_MODE: u32 = 0o600;

pub async fn call(
    agent: &Agent,
    query: &Query,
    headers: &HeaderMap,
    body: Incoming,
) -> Answer<Response<ResponseBody>> {
    let target = target(agent, query.required("path")?, query.get("user"))?;
    let mode = query.get("mode").map(octal).transpose()?;
    let parents = query.flag("parents")?;
    let mut announced = Announced::read(headers)?;
    if parents {
        let (folder, _) = split(&target.text)?;
        target.act("make the folder of", || make_parents(folder, FOLDER_MODE))?;
    }
    let target = target.follow_last()?;
    let temporary = Temporary::make(&target)?;
    let result = fill(&target, &temporary, body, &mut announced).await;
    if let Err(refusal) = &result
        && refusal.code == Code::DiskFull
    {
        agent.processes.list().iter().filter(|known| !known.has_ended()).for_each(|known| {
            known.marks.limit_disk.set(true);
        });
    }
    let size = result?;
    let sha256 = hash(&target, &temporary, size).await?;
    announced.check(&target, size, &sha256)?;
    temporary.finish(&target, mode)?;
    let found = target.act("look at", || lstat(libc::AT_FDCWD, &target.path))?;
    Ok(reply(
        StatusCode::OK,
        &json!({
            "path": target.text,
            "size": found.st_size,
            "sha256": sha256,
            "mode": found.st_mode & MODE_MAX,
            "uid": found.st_uid,
            "gid": found.st_gid,
        }),
    ))
}

async fn fill(
    target: &Target,
    temporary: &Temporary,
    mut body: Incoming,
    announced: &mut Announced,
) -> Answer<u64> {
    let mut size = 0;
    loop {
        match request::part(&mut body).await? {
            Part::Bytes(bytes) => {
                // As the user: a filesystem may keep its last blocks for root.
                target
                    .act("write", || descriptor::write_all(temporary.file.as_raw_fd(), &bytes))?;
                size += bytes.len() as u64;
            }
            Part::Trailers(trailers) => announced.complete(&trailers)?,
            Part::End => break,
        }
    }
    target.act("sync", || sync(&temporary.file))?;
    Ok(size)
}

/// The hash of what is in the file, not of what came in.
async fn hash(target: &Target, temporary: &Temporary, size: u64) -> Answer<String> {
    let mut hasher = Sha256::new();
    let mut piece = vec![0; PIECE_BYTES.min(size as usize)];
    let mut at = 0;
    while at < size {
        let read = descriptor::read_at(temporary.file.as_raw_fd(), &mut piece, at);
        let count = read.map_err(|error| Refusal::io("read back", &target.text, &error))?;
        if count == 0 {
            let message =
                format!("cannot write {}: only {at} of {size} bytes are there", target.text);
            return Err(Refusal::new(Code::Internal, message));
        }
        hasher.update(&piece[..count]);
        at += count as u64;
        tokio::task::yield_now().await;
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What the client says it sends.
struct Announced {
    size: Option<u64>,
    sha256: Option<String>,
    /// A sender that learns the size as it sends has promised to tell it after the last byte.
    trailer_promised: bool,
}

impl Announced {
    fn read(headers: &HeaderMap) -> Answer<Self> {
        let mut announced = Self { size: None, sha256: None, trailer_promised: false };
        announced.take(headers)?;
        announced.trailer_promised = headers.get_all(http::header::TRAILER).iter().any(|value| {
            let names = value.to_str().unwrap_or_default().split(',');
            names.map(str::trim).any(|name| name.eq_ignore_ascii_case(SIZE))
        });
        Ok(announced)
    }

    fn complete(&mut self, trailers: &HeaderMap) -> Answer<()> {
        self.trailer_promised &= !trailers.contains_key(SIZE);
        self.take(trailers)
    }

    fn take(&mut self, headers: &HeaderMap) -> Answer<()> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        match text(SIZE).map(str::parse) {
            None => {}
            Some(Ok(size)) if self.size.is_none_or(|known| known == size) => self.size = Some(size),
            Some(Ok(_)) => return Err(Refusal::invalid("x-atoll-size was told twice, unequally")),
            Some(Err(_)) => {
                return Err(Refusal::invalid("x-atoll-size must be a whole number"));
            }
        }
        if let Some(sha256) = text(SHA256) {
            self.sha256 = Some(sha256.to_ascii_lowercase());
        }
        Ok(())
    }

    fn check(&self, target: &Target, size: u64, sha256: &str) -> Answer<()> {
        let differs = |what: &str, announced: &str, came: &str| {
            let path = &target.text;
            let message =
                format!("cannot write {path}: {what} {announced} was announced and {came} came");
            Err(Refusal::new(Code::HashMismatch, message))
        };
        if self.trailer_promised {
            let path = &target.text;
            let message = format!(
                "cannot write {path}: the body ended without its trailer {SIZE}; send it again"
            );
            return Err(Refusal::invalid(message));
        }
        match (&self.size, &self.sha256) {
            (Some(announced), _) if *announced != size => {
                differs("size", &announced.to_string(), &size.to_string())
            }
            (_, Some(announced)) if announced != sha256 => differs("sha256", announced, sha256),
            _ => Ok(()),
        }
    }
}

/// A file that vanishes unless it is finished.
struct Temporary {
    folder: OwnedFd,
    name: CString,
    last_name: CString,
    file: OwnedFd,
    finished: Cell<bool>,
    target: Target,
}

impl Temporary {
    fn make(target: &Target) -> Answer<Self> {
        let (folder, last_name) = split(&target.text)?;
        let name = CString::new(format!(".atoll-{:016x}.tmp", random())).unwrap_or_default();
        let (folder, file) = target.act("write", || {
            if let Ok(found) = lstat(libc::AT_FDCWD, &target.path)
                && found.st_mode & libc::S_IFMT == libc::S_IFDIR
            {
                return Err(io::Error::from_raw_os_error(libc::EISDIR));
            }
            let folder = open_folder(folder)?;
            let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
            let file = descriptor::open_at(folder.as_raw_fd(), &name, flags, TEMPORARY_MODE)?;
            Ok((folder, file))
        })?;
        let last_name = CString::new(last_name).unwrap_or_default();
        let target = target.at(target.text.clone())?;
        Ok(Self { folder, name, last_name, file, finished: Cell::new(false), target })
    }

    fn finish(&self, target: &Target, mode: Option<u32>) -> Answer<()> {
        target.act("write", || {
            let (file, folder) = (self.file.as_raw_fd(), self.folder.as_raw_fd());
            let mode = mode.unwrap_or_else(|| match lstat(folder, &self.last_name) {
                Ok(old) if old.st_mode & libc::S_IFMT == libc::S_IFREG => old.st_mode & MODE_MAX,
                _ => FILE_MODE,
            });
            descriptor::retry(|| unsafe { libc::fchmod(file, mode) as isize })?;
            let (from, to) = (self.name.as_ptr(), self.last_name.as_ptr());
            descriptor::retry(|| unsafe { libc::renameat(folder, from, folder, to) as isize })?;
            self.finished.set(true);
            sync(&self.folder)?;
            let own = fstat(file)?;
            let there = lstat(folder, &self.last_name)?;
            // Someone else's rename came after ours: what we would tell is not there.
            match (own.st_dev, own.st_ino) == (there.st_dev, there.st_ino) {
                true => Ok(()),
                false => Err(io::Error::from_raw_os_error(libc::EBUSY)),
            }
        })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.finished.get() {
            let (folder, name) = (self.folder.as_raw_fd(), self.name.as_ptr());
            let gone = self.target.act("remove the rest of", || {
                descriptor::retry(|| unsafe { libc::unlinkat(folder, name, 0) as isize })
            });
            if let Err(refusal) = gone {
                eprintln!("atoll-agent: {}", refusal.message);
            }
        }
    }
}

pub fn octal(text: &str) -> Answer<u32> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= MODE_MAX)
        .ok_or_else(|| Refusal::invalid(format!("mode must be octal up to 7777, not {text:?}")))
}

fn random() -> u64 {
    let mut bytes = [0_u8; 8];
    unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    u64::from_ne_bytes(bytes)
}
