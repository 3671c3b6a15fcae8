//! `PUT /v1/tar`: unpacks below a folder, as the user, and never anywhere else. Each path is walked
//! from that folder's descriptor, component by component, and no link is ever followed: gVisor has
//! no openat2.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use http::{Response, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use super::archive::{Event, Kind, Member, Reader};
use super::path::{FOLDER_FLAGS, Target, open_folder, target};
use crate::agent::Agent;
use crate::http::body::ResponseBody;
use crate::http::error::{Answer, Code, Refusal};
use crate::http::query::Query;
use crate::http::request;
use crate::http::serve::reply;
use crate::kernel::descriptor;

const FOLDER_MODE: u32 = 0o755;
const COMPONENTS_MAX: usize = 256;
const SET_ID_BITS: u32 = 0o6000;

pub async fn call(
    agent: &Agent,
    query: &Query,
    mut body: Incoming,
) -> Answer<Response<ResponseBody>> {
    let target = target(agent, query.required("path")?, query.get("user"))?;
    let root = target.act("unpack into", || open_folder(&target.text))?;
    let mut unpacking = Unpacking { root, open: None, entries: 0, bytes: 0 };
    let mut reader = Reader::new();
    while let Some(piece) = request::piece(&mut body).await? {
        let ran =
            target.user.credentials.run(|| reader.push(&piece, &mut |event| unpacking.take(event)));
        let result = ran.map_err(|error| Refusal::io("unpack into", &target.text, &error))?;
        result.map_err(|fault| fault.refusal(&target, unpacking.entries))?;
        // A piece may hold many small files.
        tokio::task::yield_now().await;
    }
    if !reader.may_end() {
        let fault = Fault::Archive("the archive ends in the middle of an entry".to_owned());
        return Err(fault.refusal(&target, unpacking.entries));
    }
    let answer = json!({ "entries": unpacking.entries, "bytes": unpacking.bytes });
    Ok(reply(StatusCode::OK, &answer))
}

/// Why unpacking stopped.
#[derive(Debug)]
pub enum Fault {
    Archive(String),
    System(String, io::Error),
}

impl From<String> for Fault {
    fn from(text: String) -> Self {
        Self::Archive(text)
    }
}

impl Fault {
    fn refusal(self, target: &Target, entries: u64) -> Refusal {
        let folder = &target.text;
        let details = json!({ "entries": entries });
        match self {
            Self::Archive(text) => {
                let message = format!(
                    "cannot unpack into {folder}: {text}; {entries} entries before it are there"
                );
                Refusal::new(Code::ImageInvalid, message).with(details)
            }
            Self::System(path, error) => {
                Refusal::io("unpack", &format!("{path} into {folder}"), &error).with(details)
            }
        }
    }
}

struct Open {
    file: OwnedFd,
    member: Member,
    path: String,
}

pub struct Unpacking {
    root: OwnedFd,
    open: Option<Open>,
    entries: u64,
    bytes: u64,
}

impl Unpacking {
    #[cfg(test)]
    pub fn into_folder(root: OwnedFd) -> Self {
        Self { root, open: None, entries: 0, bytes: 0 }
    }

    pub fn take(&mut self, event: Event<'_>) -> Result<(), Fault> {
        match event {
            Event::Begin(member) => self.begin(member),
            Event::Content(bytes) => {
                let Some(open) = &self.open else { return Ok(()) };
                descriptor::write_all(open.file.as_raw_fd(), bytes)
                    .map_err(|error| Fault::System(open.path.clone(), error))?;
                self.bytes += bytes.len() as u64;
                Ok(())
            }
            Event::Finish => self.finish(),
        }
    }

    fn begin(&mut self, member: Member) -> Result<(), Fault> {
        let path = String::from_utf8_lossy(&member.path).into_owned();
        let components = components(&member.path)?;
        let Some((last, above)) = components.split_last() else {
            // The folder itself, as `tar -C x .` packs it.
            return match member.kind {
                Kind::Folder => Ok(()),
                _ => Err(Fault::Archive(format!("entry {path:?} has no name"))),
            };
        };
        let failed = |error| Fault::System(path.clone(), error);
        let folder = self.walk(above, true).map_err(failed)?;
        let at = folder.as_raw_fd();
        match member.kind {
            Kind::Folder => make_folder(at, last, member.mode).map_err(failed)?,
            Kind::File => {
                clear(at, last).map_err(failed)?;
                let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
                let file = descriptor::open_at(at, last, flags, 0o600).map_err(failed)?;
                self.open = Some(Open { file, member, path });
            }
            Kind::Symlink => {
                let link = CString::new(member.link)
                    .map_err(|_| Fault::Archive(format!("the link of {path:?} holds NUL")))?;
                clear(at, last).map_err(failed)?;
                check(unsafe { libc::symlinkat(link.as_ptr(), at, last.as_ptr()) })
                    .map_err(failed)?;
            }
            Kind::HardLink => self.hard_link(&member, at, last, &path)?,
            Kind::Fifo => {
                clear(at, last).map_err(failed)?;
                let mode = member.mode & 0o777;
                check(unsafe { libc::mkfifoat(at, last.as_ptr(), mode) }).map_err(failed)?;
            }
            Kind::Device => {
                return Err(Fault::Archive(format!(
                    "entry {path:?} is a device, which is refused"
                )));
            }
        }
        Ok(())
    }

    /// Its target is a path in the archive, so it is walked from the same root.
    fn hard_link(&self, member: &Member, at: i32, last: &CString, path: &str) -> Result<(), Fault> {
        let failed = |error| Fault::System(path.to_owned(), error);
        let components = components(&member.link)?;
        let Some((name, above)) = components.split_last() else {
            return Err(Fault::Archive(format!("entry {path:?} is a link to nothing")));
        };
        let folder = self.walk(above, false).map_err(failed)?;
        let from = folder.as_raw_fd();
        clear(at, last).map_err(failed)?;
        check(unsafe { libc::linkat(from, name.as_ptr(), at, last.as_ptr(), 0) }).map_err(failed)
    }

    fn finish(&mut self) -> Result<(), Fault> {
        self.entries += 1;
        let Some(open) = self.open.take() else { return Ok(()) };
        let fd = open.file.as_raw_fd();
        let time = libc::timespec { tv_sec: open.member.modified_s as i64, tv_nsec: 0 };
        let times = [time, time];
        // No set-user-id: the ids in an archive are someone else's.
        let mode = open.member.mode & !SET_ID_BITS;
        check(unsafe { libc::fchmod(fd, mode) })
            .and_then(|()| check(unsafe { libc::futimens(fd, times.as_ptr()) }))
            .map_err(|error| Fault::System(open.path, error))
    }

    /// Opens a folder below the root, making what lacks; a link on the way is an error.
    fn walk(&self, components: &[CString], make: bool) -> io::Result<OwnedFd> {
        let mut folder = self.root.try_clone()?;
        for name in components {
            let at = folder.as_raw_fd();
            let flags = FOLDER_FLAGS | libc::O_NOFOLLOW;
            folder = match descriptor::open_at(at, name, flags, 0) {
                Err(error) if make && error.kind() == io::ErrorKind::NotFound => {
                    check(unsafe { libc::mkdirat(at, name.as_ptr(), FOLDER_MODE) })?;
                    descriptor::open_at(at, name, flags, 0)?
                }
                opened => opened?,
            };
        }
        Ok(folder)
    }
}

/// The names of a path. Absolute ones and `..` are refused, not repaired.
pub fn components(path: &[u8]) -> Result<Vec<CString>, Fault> {
    let shown = String::from_utf8_lossy(path);
    if path.first() == Some(&b'/') {
        return Err(Fault::Archive(format!("entry {shown:?} has an absolute name")));
    }
    let mut components = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => continue,
            b".." => return Err(Fault::Archive(format!("entry {shown:?} leaves the folder"))),
            _ => {}
        }
        let name = CString::new(name);
        components.push(name.map_err(|_| Fault::Archive(format!("entry {shown:?} holds NUL")))?);
        if components.len() > COMPONENTS_MAX {
            return Err(Fault::Archive(format!("entry {shown:?} is too deep")));
        }
    }
    Ok(components)
}

fn make_folder(at: i32, name: &CString, mode: u32) -> io::Result<()> {
    let made = check(unsafe { libc::mkdirat(at, name.as_ptr(), FOLDER_MODE) });
    let existed = match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => true,
        made => made.map(|()| false)?,
    };
    // A link in its place must neither be followed nor have its target changed.
    let folder = descriptor::open_at(at, name, FOLDER_FLAGS | libc::O_NOFOLLOW, 0)?;
    if existed {
        return Ok(());
    }
    // Its owner has to get in, or the entries below could not be made.
    let mode = (mode & !SET_ID_BITS) | 0o700;
    check(unsafe { libc::fchmod(folder.as_raw_fd(), mode) })
}

/// What is in the way is removed, a link as such; a folder stays and is an error.
fn clear(at: i32, name: &CString) -> io::Result<()> {
    match check(unsafe { libc::unlinkat(at, name.as_ptr(), 0) }) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
