//! File operations that cannot leave the tree: every path is resolved by the kernel inside the
//! root (openat2, RESOLVE_IN_ROOT), and the last component is never followed.
use crate::failure::{Failure, Outcome};
use std::ffi::{CStr, CString};
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

pub struct Tree {
    root: OwnedFd,
}

/// A directory inside the tree and the name of something in it.
pub struct Place {
    pub parent: OwnedFd,
    pub name: CString,
}

/// Directories nested in one name. Real trees stay under 60; the removal holds one descriptor a level.
const DEPTH: usize = 200;

impl Tree {
    pub fn open(path: &CStr) -> Outcome<Self> {
        // SAFETY: the path is a NUL-terminated string.
        let fd = unsafe { libc::open(path.as_ptr(), libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC) };
        Ok(Self {
            root: owned(fd).map_err(|error| Failure::from_io("open the tree", &error))?,
        })
    }

    /// The components of an entry's name; empty for the root itself. Names with `..` are refused.
    pub fn components(name: &[u8]) -> Outcome<Vec<&[u8]>> {
        let parts: Vec<&[u8]> = name
            .split(|&byte| byte == b'/')
            .filter(|part| !part.is_empty() && *part != b".")
            .collect();
        if parts.contains(&b"..".as_slice()) {
            return Err(Failure::invalid(
                "the entry's name climbs out of the root with `..`; nothing of it is kept",
            ));
        }
        if parts.len() > DEPTH {
            return Err(Failure::too_large(format!(
                "the entry is nested over {DEPTH} directories deep (depth)"
            )));
        }
        Ok(parts)
    }

    /// The directory that shall hold the last component; missing ones are made, 0755 and root's.
    pub fn place(&self, parts: &[&[u8]], made: &mut Vec<u64>) -> Outcome<Place> {
        let (last, above) = parts
            .split_last()
            .ok_or_else(|| Failure::invalid("the entry would replace the root"))?;
        let name = c_string(last)?;
        Ok(Place {
            parent: self.directory(above, made)?,
            name,
        })
    }

    /// Like `place`, but undefined where the parent is not there.
    pub fn find(&self, parts: &[&[u8]]) -> Outcome<Option<Place>> {
        let (last, above) = parts
            .split_last()
            .ok_or_else(|| Failure::invalid("the entry names the root"))?;
        match self.resolve(above) {
            Ok(parent) => Ok(Some(Place {
                parent,
                name: c_string(last)?,
            })),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
            Err(error) => Err(Failure::from_io("resolve a path inside the root", &error)),
        }
    }

    pub fn resolve(&self, parts: &[&[u8]]) -> io::Result<OwnedFd> {
        let path = if parts.is_empty() {
            b".".to_vec()
        } else {
            parts.join(&b'/')
        };
        let path = CString::new(path).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
        // SAFETY: open_how is plain data, and all zero is a valid value of it.
        let mut how: libc::open_how = unsafe { zeroed() };
        how.flags = (libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC) as u64;
        how.resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
        // SAFETY: path and how live over the call, and the size is how's.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_openat2,
                self.root.as_raw_fd(),
                path.as_ptr(),
                &raw const how,
                size_of::<libc::open_how>(),
            )
        };
        owned(i32::try_from(fd).unwrap_or(-1))
    }

    fn directory(&self, parts: &[&[u8]], made: &mut Vec<u64>) -> Outcome<OwnedFd> {
        match self.resolve(parts) {
            Ok(fd) => return Ok(fd),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => {
                return Err(Failure::from_io(
                    "resolve the entry's directory inside the root",
                    &error,
                ));
            }
        }
        let (last, above) = parts
            .split_last()
            .ok_or_else(|| Failure::internal("the root is gone"))?;
        let parent = self.directory(above, made)?;
        let name = c_string(last)?;
        // SAFETY: the descriptor and the string live over the call.
        let result = unsafe { libc::mkdirat(parent.as_raw_fd(), name.as_ptr(), 0o755) };
        check(result).map_err(|error| {
            if error.raw_os_error() == Some(libc::EEXIST) {
                Failure::invalid("the entry lies under a symlink that leads nowhere inside the root")
            } else {
                Failure::from_io("make the entry's directory", &error)
            }
        })?;
        made.push(
            stat(parent.as_raw_fd(), &name)
                .map_err(|error| Failure::from_io("stat a new directory", &error))?
                .st_ino,
        );
        self.resolve(parts)
            .map_err(|error| Failure::from_io("open a new directory", &error))
    }
}

/// lstat of a name.
pub fn stat(parent: RawFd, name: &CStr) -> io::Result<libc::stat> {
    // SAFETY: stat is plain data; the kernel fills it.
    let mut result: libc::stat = unsafe { zeroed() };
    // SAFETY: the string and the result live over the call.
    check(unsafe { libc::fstatat(parent, name.as_ptr(), &raw mut result, libc::AT_SYMLINK_NOFOLLOW) })?;
    Ok(result)
}

/// Opens what was checked to be no symlink; a symlink is an error.
pub fn open_at(parent: RawFd, name: &CStr, flags: i32, mode: u32) -> io::Result<OwnedFd> {
    // SAFETY: the string lives over the call.
    owned(unsafe { libc::openat(parent, name.as_ptr(), flags | libc::O_NOFOLLOW | libc::O_CLOEXEC, mode) })
}

/// Removes a name with everything below it; true when there was something.
pub fn remove(parent: RawFd, name: &CStr) -> io::Result<bool> {
    let found = match stat(parent, name) {
        Ok(found) => found,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(false),
        Err(error) => return Err(error),
    };
    if found.st_mode & libc::S_IFMT == libc::S_IFDIR {
        let directory = open_at(parent, name, libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
        for child in list(&directory)? {
            remove(directory.as_raw_fd(), &child)?;
        }
        unlink(parent, name, libc::AT_REMOVEDIR)?;
    } else {
        unlink(parent, name, 0)?;
    }
    Ok(true)
}

pub fn unlink(parent: RawFd, name: &CStr, flags: i32) -> io::Result<()> {
    // SAFETY: the string lives over the call.
    check(unsafe { libc::unlinkat(parent, name.as_ptr(), flags) })
}

/// Names in a directory, without `.` and `..`.
pub fn list(directory: &OwnedFd) -> io::Result<Vec<CString>> {
    let copy = open_at(directory.as_raw_fd(), c".", libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
    let mut names = Vec::new();
    // SAFETY: fdopendir takes the descriptor over; closedir ends both.
    unsafe {
        let stream = libc::fdopendir(std::os::fd::IntoRawFd::into_raw_fd(copy));
        if stream.is_null() {
            return Err(io::Error::last_os_error());
        }
        loop {
            let entry = libc::readdir(stream);
            if entry.is_null() {
                break;
            }
            let name = CStr::from_ptr((*entry).d_name.as_ptr());
            if name != c"." && name != c".." {
                names.push(name.to_owned());
            }
        }
        libc::closedir(stream);
    }
    Ok(names)
}

pub fn c_string(bytes: &[u8]) -> Outcome<CString> {
    CString::new(bytes).map_err(|_| Failure::invalid("a name holds a NUL byte"))
}

pub fn check(result: i32) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

pub fn owned(fd: i32) -> io::Result<OwnedFd> {
    check(fd)?;
    // SAFETY: the call that gave the descriptor succeeded, and nobody else holds it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What we add ourselves has no time of its own, so that the same content gives the same image.
pub fn set_epoch(parent: RawFd, name: &CStr) -> io::Result<()> {
    let times = [libc::timespec { tv_sec: 0, tv_nsec: 0 }; 2];
    // SAFETY: the name and the times live over the call.
    check(unsafe { libc::utimensat(parent, name.as_ptr(), times.as_ptr(), libc::AT_SYMLINK_NOFOLLOW) })
}
