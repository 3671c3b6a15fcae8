//! Paths that a client names, made absolute and bound to the user that acts on them.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::agent::Agent;
use crate::http::error::{Answer, Refusal};
use crate::identity::users::{self, User};
use crate::kernel::descriptor;

const PATH_MAX_BYTES: usize = 4_096;
const LINKS_MAX: usize = 40;
pub const FOLDER_FLAGS: i32 = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NONBLOCK;

/// A path with the user whose rights count.
pub struct Target {
    pub user: User,
    pub text: String,
    pub path: CString,
}

pub fn target(agent: &Agent, path: &str, user: Option<&str>) -> Answer<Target> {
    let user = match user {
        Some(user) => users::find(user)?,
        None => users::find(&agent.default_user())?,
    };
    let text = absolute(path, &user.home)?;
    let path = CString::new(text.clone()).map_err(|_| Refusal::invalid("a path has no NUL"))?;
    Ok(Target { user, text, path })
}

/// Relative paths start at the home; a trailing slash says nothing more.
pub fn absolute(path: &str, home: &str) -> Answer<String> {
    if path.is_empty() || path.len() > PATH_MAX_BYTES || path.contains('\0') {
        let message = format!("a path has 1 to {PATH_MAX_BYTES} bytes and no NUL");
        return Err(Refusal::invalid(message));
    }
    let text = match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("{}/{path}", home.trim_end_matches('/')),
    };
    let trimmed = text.trim_end_matches('/');
    Ok(if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() })
}

/// The folder and the last name; `/`, `.` and `..` have none.
pub fn split(path: &str) -> Answer<(&str, &str)> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    if matches!(name, "" | "." | "..") {
        return Err(Refusal::invalid(format!(
            "{path:?} does not end in a name; give one that does"
        )));
    }
    Ok((if folder.is_empty() { "/" } else { folder }, name))
}

impl Target {
    /// Runs one synchronous section as the user and words its error.
    pub fn act<T>(&self, act: &str, section: impl FnOnce() -> io::Result<T>) -> Answer<T> {
        let result = self.user.credentials.run(section).and_then(|result| result);
        result.map_err(|error| Refusal::io(act, &self.text, &error))
    }

    pub fn at(&self, path: String) -> Answer<Self> {
        let text = path.clone();
        let path = CString::new(path).map_err(|_| Refusal::invalid("a path has no NUL"))?;
        Ok(Self { user: self.user.clone(), text, path })
    }

    /// Where a write goes when the last component is a link. Root follows none but root's own:
    /// else a user could aim root's writes.
    pub fn follow_last(self) -> Answer<Self> {
        let mut target = self;
        for _ in 0..LINKS_MAX {
            let Some((link, owner)) = target.act("read", || read_link(&target.path))? else {
                return Ok(target);
            };
            if target.user.credentials.uid == 0 && owner != 0 {
                let message = format!("cannot write {}: it is a link of uid {owner}", target.text);
                return Err(Refusal::new(crate::http::error::Code::PermissionDenied, message));
            }
            let (folder, _) = split(&target.text)?;
            let next = absolute(&link, folder)?;
            target = target.at(next)?;
        }
        Err(Refusal::invalid(format!("cannot write {}: over {LINKS_MAX} links", target.text)))
    }
}

/// The text and owner of a link; `None` when there is nothing or something else.
fn read_link(path: &CString) -> io::Result<Option<(String, u32)>> {
    let found = match lstat(libc::AT_FDCWD, path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if found.st_mode & libc::S_IFMT != libc::S_IFLNK {
        return Ok(None);
    }
    let text = read_link_at(libc::AT_FDCWD, path)?;
    Ok(Some((String::from_utf8_lossy(&text).into_owned(), found.st_uid)))
}

pub fn read_link_at(folder: i32, path: &CString) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0_u8; PATH_MAX_BYTES];
    let count = descriptor::retry(|| unsafe {
        libc::readlinkat(folder, path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len())
    })?;
    buffer.truncate(count);
    Ok(buffer)
}

pub fn lstat(folder: i32, path: &CString) -> io::Result<libc::stat> {
    let mut found: libc::stat = unsafe { std::mem::zeroed() };
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    descriptor::retry(|| unsafe {
        libc::fstatat(folder, path.as_ptr(), &mut found, flags) as isize
    })?;
    Ok(found)
}

pub fn fstat(fd: i32) -> io::Result<libc::stat> {
    let mut found: libc::stat = unsafe { std::mem::zeroed() };
    descriptor::retry(|| unsafe { libc::fstat(fd, &mut found) as isize })?;
    Ok(found)
}

pub fn open_folder(path: &str) -> io::Result<OwnedFd> {
    descriptor::open(&CString::new(path)?, FOLDER_FLAGS)
}

/// Makes a folder and those above it; what is there stays as it is.
pub fn make_parents(path: &str, mode: u32) -> io::Result<()> {
    let mut at = 0;
    while at < path.len() {
        at = path[at + 1..].find('/').map_or(path.len(), |next| at + 1 + next);
        let folder = CString::new(&path[..at])?;
        let made = unsafe { libc::mkdir(folder.as_ptr(), mode) };
        let error = io::Error::last_os_error();
        if made != 0 && error.kind() != io::ErrorKind::AlreadyExists {
            // A folder above may be closed for writing and yet be there.
            let is_there = descriptor::open(&folder, libc::O_PATH | libc::O_DIRECTORY).is_ok();
            if !is_there {
                return Err(error);
            }
        }
    }
    Ok(())
}

pub fn sync(fd: &OwnedFd) -> io::Result<()> {
    descriptor::retry(|| unsafe { libc::fsync(fd.as_raw_fd()) as isize }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_absolute() {
        assert_eq!(absolute("a/b/", "/home/user/").unwrap(), "/home/user/a/b");
        assert_eq!(absolute("///", "/root").unwrap(), "/");
        assert_eq!(absolute("/x", "/root").unwrap(), "/x");
        for bad in ["", "a\0b", &"x".repeat(PATH_MAX_BYTES + 1)] {
            assert!(absolute(bad, "/").is_err());
        }
    }

    #[test]
    fn a_name_is_needed_at_the_end() {
        assert_eq!(split("/a/b").unwrap(), ("/a", "b"));
        assert_eq!(split("/a").unwrap(), ("/", "a"));
        for bad in ["/", "/a/..", "/a/."] {
            assert!(split(bad).is_err());
        }
    }
}
