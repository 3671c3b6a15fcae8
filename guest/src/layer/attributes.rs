//! Extended attributes of what an overlay holds.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::RawFd;

use crate::kernel::descriptor;

const OVERLAY_PREFIX: &[u8] = b"trusted.overlay.";
const OPAQUE: &CStr = c"trusted.overlay.opaque";
const NAMES_MAX_BYTES: usize = 64 << 10;
const VALUE_MAX_BYTES: usize = 64 << 10;

/// Name and value of each; none where the filesystem has no such thing.
pub fn all(fd: RawFd) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = vec![0_u8; NAMES_MAX_BYTES];
    let (pointer, room) = (names.as_mut_ptr().cast(), names.len());
    let listed = descriptor::retry(|| unsafe { libc::flistxattr(fd, pointer, room) });
    let Some(count) = unless_unsupported(listed)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for name in names[..count].split(|byte| *byte == 0) {
        if name.is_empty() || name.starts_with(OVERLAY_PREFIX) {
            continue;
        }
        if let Some(value) = get(fd, &CString::new(name)?)? {
            found.push((name.to_vec(), value));
        }
    }
    Ok(found)
}

/// Whether an overlay's folder hides that of the template.
pub fn is_opaque(fd: RawFd) -> io::Result<bool> {
    Ok(get(fd, OPAQUE)?.is_some_and(|value| value == b"y"))
}

pub fn set(fd: RawFd, name: &[u8], value: &[u8]) -> io::Result<()> {
    let name = CString::new(name)?;
    let (pointer, length) = (value.as_ptr().cast(), value.len());
    descriptor::retry(|| unsafe { libc::fsetxattr(fd, name.as_ptr(), pointer, length, 0) as isize })
        .map(drop)
}

fn get(fd: RawFd, name: &CStr) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0_u8; VALUE_MAX_BYTES];
    let (pointer, room) = (value.as_mut_ptr().cast(), value.len());
    let read = descriptor::retry(|| unsafe { libc::fgetxattr(fd, name.as_ptr(), pointer, room) });
    let read = match read {
        Err(error) if error.raw_os_error() == Some(libc::ENODATA) => return Ok(None),
        read => unless_unsupported(read)?,
    };
    Ok(read.map(|count| {
        value.truncate(count);
        value
    }))
}

fn unless_unsupported(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(None),
        result => result.map(Some),
    }
}
