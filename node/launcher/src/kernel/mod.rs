//! Thin safe wrappers over system calls: the only folder with `unsafe`.

pub mod affinity;
pub mod loop_device;
pub mod memory;
pub mod mount;
pub mod poll;
pub mod process;
pub mod socket;
pub mod timer;

use std::ffi::CString;
use std::io;
use std::path::Path;

/// `-1` becomes the errno.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn check_long(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// A path as C wants it; one with NUL is refused.
pub fn c_path(path: &Path) -> io::Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}
