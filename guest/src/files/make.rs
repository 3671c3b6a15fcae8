//! `POST /v1/files/make`: a folder.

use std::ffi::CString;
use std::io;

use http::Response;
use hyper::body::Incoming;
use serde::Deserialize;

use super::path::{lstat, make_parents, split, target};
use super::stat;
use crate::agent::Agent;
use crate::http::body::ResponseBody;
use crate::http::error::{Answer, Refusal};
use crate::http::request;

pub const FOLDER_MODE: u32 = 0o755;
pub const MODE_MAX: u32 = 0o7777;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MakeRequest {
    path: String,
    mode: Option<u32>,
    #[serde(default)]
    parents: bool,
    user: Option<String>,
}

pub async fn call(agent: &Agent, body: Incoming) -> Answer<Response<ResponseBody>> {
    let wanted: MakeRequest = request::json(body).await?;
    let mode = wanted.mode.unwrap_or(FOLDER_MODE);
    if mode > MODE_MAX {
        return Err(Refusal::invalid(format!("mode must be at most {MODE_MAX} (octal 7777)")));
    }
    let target = target(agent, &wanted.path, wanted.user.as_deref())?;
    let (folder, _) = split(&target.text)?;
    target.act("make", || make(folder, &target.path, mode, wanted.parents))?;
    stat::answer(&target)
}

fn make(folder: &str, path: &CString, mode: u32, parents: bool) -> io::Result<()> {
    if parents {
        make_parents(folder, FOLDER_MODE)?;
    }
    if unsafe { libc::mkdir(path.as_ptr(), mode) } == 0 {
        // mkdir took the umask away from what was asked for.
        unsafe { libc::chmod(path.as_ptr(), mode) };
        return Ok(());
    }
    let error = io::Error::last_os_error();
    let exists = error.kind() == io::ErrorKind::AlreadyExists;
    if exists && parents {
        let found = lstat(libc::AT_FDCWD, path)?;
        if found.st_mode & libc::S_IFMT == libc::S_IFDIR {
            return Ok(());
        }
    }
    Err(error)
}
