//! `PUT /v1/files`: a temporary file beside the target, synced, checked and renamed, so that a
//! body that ends early changes nothing (invariant 1).

use std::cell::Cell;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use http::{HeaderMap, Response, StatusCode};
use hyper::body::{Body, Incoming};
use serde_json::json;

use super::announced::Announced;
use super::make::{FOLDER_MODE, MODE_MAX};
use super::path::{Target, fstat, lstat, make_parents, open_folder, split, sync, target};
use super::written::Written;
use crate::agent::Agent;
use crate::http::body::ResponseBody;
use crate::http::error::{Answer, Code, Refusal};
use crate::http::query::Query;
use crate::http::request::{self, Part};
use crate::http::serve::reply;
use crate::kernel::descriptor;

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
    let mut announced = Announced::read(headers, body.is_end_stream())?;
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
    let (size, sha256) = result?;
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

/// Writes the body and answers with size and hash of what is in the file.
async fn fill(
    target: &Target,
    temporary: &Temporary,
    mut body: Incoming,
    announced: &mut Announced,
) -> Answer<(u64, String)> {
    let mut written = Written::new(temporary.file.as_raw_fd());
    loop {
        match request::part(&mut body).await? {
            Part::Bytes(bytes) => written.take(target, bytes)?,
            Part::Trailers(trailers) => announced.complete(&trailers)?,
            Part::End => break,
        }
    }
    let written = written.finish(target)?;
    target.act("sync", || sync(&temporary.file))?;
    Ok(written)
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
