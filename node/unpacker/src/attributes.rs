//! Owner, mode, times and extended attributes of what was made.
use crate::archive::Entry;
use crate::failure::{Failure, Outcome};
use crate::limits::ID_COUNT;
use crate::report::Skipped;
use crate::tree::{Place, c_string, check};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};

/// Files and directories, by descriptor. The owner first: chown clears setuid bits and capabilities.
pub fn apply(fd: &OwnedFd, entry: &Entry, skipped: &mut Skipped) -> Outcome<()> {
    let (uid, gid) = ids(entry)?;
    // SAFETY: plain system calls on a descriptor that is held.
    unsafe {
        check(libc::fchown(fd.as_raw_fd(), uid, gid)).map_err(|error| Failure::from_io("set the owner", &error))?;
        check(libc::fchmod(fd.as_raw_fd(), entry.mode)).map_err(|error| Failure::from_io("set the mode", &error))?;
    }
    for (name, value) in &entry.attributes {
        if !kept(name) {
            skipped.add(&entry.name);
            continue;
        }
        let name = c_string(name)?;
        // SAFETY: name and value live over the call.
        let result = unsafe { libc::fsetxattr(fd.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
        match check(result) {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EOPNOTSUPP | libc::EPERM | libc::EINVAL)
                ) =>
            {
                skipped.add(&entry.name);
            }
            Err(error) => return Err(Failure::from_io("set an extended attribute", &error)),
        }
    }
    // SAFETY: a descriptor that is held and times that live over the call.
    check(unsafe { libc::futimens(fd.as_raw_fd(), times(entry.mtime).as_ptr()) })
        .map_err(|error| Failure::from_io("set the time", &error))
}

/// Symlinks and fifos, by name, never followed.
pub fn apply_by_name(place: &Place, entry: &Entry, skipped: &mut Skipped) -> Outcome<()> {
    let (uid, gid) = ids(entry)?;
    let (parent, name) = (place.parent.as_raw_fd(), place.name.as_ptr());
    // SAFETY: the name lives over the call.
    check(unsafe { libc::fchownat(parent, name, uid, gid, libc::AT_SYMLINK_NOFOLLOW) })
        .map_err(|error| Failure::from_io("set the owner", &error))?;
    if !entry.attributes.is_empty() {
        skipped.add(&entry.name);
    }
    set_times(place.parent.as_raw_fd(), &place.name, entry.mtime)
}

pub fn set_times(parent: i32, name: &CStr, mtime: (i64, u32)) -> Outcome<()> {
    // SAFETY: the name and the times live over the call.
    check(unsafe { libc::utimensat(parent, name.as_ptr(), times(mtime).as_ptr(), libc::AT_SYMLINK_NOFOLLOW) })
        .map_err(|error| Failure::from_io("set the time", &error))
}

/// `trusted.*` needs the host's own root, and labels are the host's policy, not the archive's.
fn kept(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name == b"security.capability"
}

fn ids(entry: &Entry) -> Outcome<(u32, u32)> {
    let id = |value: u64, what: &str| match u32::try_from(value) {
        Ok(id) if id < ID_COUNT => Ok(id),
        _ => Err(Failure::invalid(format!(
            "the entry's {what} {value} is over {}; change the owner in the archive",
            ID_COUNT - 1
        ))),
    };
    Ok((id(entry.uid, "uid")?, id(entry.gid, "gid")?))
}

fn times((seconds, nanos): (i64, u32)) -> [libc::timespec; 2] {
    let time = libc::timespec {
        tv_sec: seconds,
        tv_nsec: i64::from(nanos),
    };
    [time, time]
}
