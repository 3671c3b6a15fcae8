//! What a path is, as the API tells it.

use std::ffi::CString;

use serde::Serialize;

use super::path::{lstat, read_link_at};
use crate::identity::users;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    pub path: String,
    pub name: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub size: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub user: String,
    pub group: String,
    pub modified_ms: i64,
    pub target: Option<String>,
}

/// Names of users and groups, read once per call.
pub struct Names {
    users: String,
    groups: String,
}

impl Names {
    pub fn read() -> Self {
        Self { users: users::database(c"/etc/passwd"), groups: users::database(c"/etc/group") }
    }
}

/// Looks without following; to be run as the user.
pub fn look(folder: i32, name: &CString, path: String, names: &Names) -> std::io::Result<Entry> {
    let found = lstat(folder, name)?;
    let target = match found.st_mode & libc::S_IFMT {
        libc::S_IFLNK => {
            let text = read_link_at(folder, name)?;
            Some(String::from_utf8_lossy(&text).into_owned())
        }
        _ => None,
    };
    Ok(entry(&found, path, target, names))
}

fn entry(found: &libc::stat, path: String, target: Option<String>, names: &Names) -> Entry {
    let name = path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("/").to_owned();
    Entry {
        path,
        name,
        kind: kind(found.st_mode),
        size: found.st_size as u64,
        mode: found.st_mode & 0o7777,
        uid: found.st_uid,
        gid: found.st_gid,
        user: users::user_name(&names.users, found.st_uid),
        group: users::user_name(&names.groups, found.st_gid),
        modified_ms: modified_ms(found),
        target,
    }
}

pub fn modified_ms(found: &libc::stat) -> i64 {
    found.st_mtime * 1_000 + found.st_mtime_nsec / 1_000_000
}

fn kind(mode: u32) -> &'static str {
    match mode & libc::S_IFMT {
        libc::S_IFREG => "file",
        libc::S_IFDIR => "directory",
        libc::S_IFLNK => "symlink",
        libc::S_IFIFO => "fifo",
        libc::S_IFSOCK => "socket",
        _ => "device",
    }
}
