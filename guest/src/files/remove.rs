//! `POST /v1/files/remove`: never through a link, and in steps that let others run.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use http::{Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;

use super::path::{FOLDER_FLAGS, lstat, open_folder, split, target};
use crate::agent::Agent;
use crate::http::body::ResponseBody;
use crate::http::error::Answer;
use crate::http::request;
use crate::http::serve::reply;
use crate::kernel::{descriptor, folder};

const STEP_ENTRIES: usize = 256;
/// Each level holds a descriptor.
const DEPTH_MAX: usize = 4_096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoveRequest {
    path: String,
    #[serde(default)]
    recursive: bool,
    user: Option<String>,
}

pub async fn call(agent: &Agent, body: Incoming) -> Answer<Response<ResponseBody>> {
    let wanted: RemoveRequest = request::json(body).await?;
    let target = target(agent, &wanted.path, wanted.user.as_deref())?;
    let (above, name) = split(&target.text)?;
    let name = CString::new(name).unwrap_or_default();
    let mut removal = target.act("remove", || {
        let above = open_folder(above)?;
        Removal::begin(above, name, wanted.recursive)
    })?;
    while !target.act("remove", || removal.step())? {
        tokio::task::yield_now().await;
    }
    Ok(reply(StatusCode::OK, &json!({ "removed": removal.removed })))
}

/// A folder that is being emptied.
struct Level {
    folder: OwnedFd,
    name: CString,
    names: Vec<CString>,
}

/// An entry and all below it, removed in steps.
pub struct Removal {
    above: OwnedFd,
    levels: Vec<Level>,
    removed: u64,
}

impl Removal {
    pub fn begin(above: OwnedFd, name: CString, recursive: bool) -> io::Result<Self> {
        let found = lstat(above.as_raw_fd(), &name)?;
        let mut removal = Self { above, levels: Vec::new(), removed: 0 };
        if found.st_mode & libc::S_IFMT != libc::S_IFDIR {
            removal.unlink(&name, 0)?;
        } else if recursive {
            removal.descend(name)?;
        } else {
            removal.unlink(&name, libc::AT_REMOVEDIR)?;
        }
        Ok(removal)
    }

    /// Removes some entries; true once all are gone.
    pub fn step(&mut self) -> io::Result<bool> {
        for _ in 0..STEP_ENTRIES {
            let Some(level) = self.levels.last_mut() else {
                return Ok(true);
            };
            match level.names.pop() {
                Some(name) => self.remove_or_descend(name)?,
                None => self.leave()?,
            }
        }
        Ok(self.levels.is_empty())
    }

    fn remove_or_descend(&mut self, name: CString) -> io::Result<()> {
        match self.unlink(&name, 0) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EISDIR | libc::EPERM)) => {
                self.descend(name)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    fn descend(&mut self, name: CString) -> io::Result<()> {
        if self.levels.len() >= DEPTH_MAX {
            return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
        }
        let flags = FOLDER_FLAGS | libc::O_NOFOLLOW;
        let folder = descriptor::open_at(self.current(), &name, flags, 0)?;
        let names = folder::names(folder.as_raw_fd(), usize::MAX)?;
        self.levels.push(Level { folder, name, names });
        Ok(())
    }

    fn leave(&mut self) -> io::Result<()> {
        let Some(level) = self.levels.pop() else {
            return Ok(());
        };
        self.unlink(&level.name, libc::AT_REMOVEDIR)
    }

    fn unlink(&mut self, name: &CString, flags: i32) -> io::Result<()> {
        let folder = self.current();
        descriptor::retry(|| unsafe { libc::unlinkat(folder, name.as_ptr(), flags) as isize })?;
        self.removed += 1;
        Ok(())
    }

    fn current(&self) -> i32 {
        self.levels.last().map_or(self.above.as_raw_fd(), |level| level.folder.as_raw_fd())
    }
}
