//! Names in a folder, by getdents: the C library's own reader needs the heap per folder and hides
//! the type.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::RawFd;

use super::descriptor;

const READ_BYTES: usize = 16_384;
const NAME_OFFSET: usize = 19;

/// Calls `each` with every name but `.` and `..`, until it answers false.
pub fn for_each_name(folder: RawFd, mut each: impl FnMut(&CStr) -> bool) -> io::Result<()> {
    let mut buffer = vec![0_u8; READ_BYTES];
    loop {
        let pointer = buffer.as_mut_ptr();
        let count = descriptor::retry(|| unsafe {
            libc::syscall(libc::SYS_getdents64, folder, pointer, READ_BYTES) as isize
        })?;
        if count == 0 {
            return Ok(());
        }
        let mut at = 0;
        while at + NAME_OFFSET < count {
            let length = usize::from(u16::from_ne_bytes([buffer[at + 16], buffer[at + 17]]));
            let name = &buffer[at + NAME_OFFSET..(at + length).min(count)];
            let Ok(name) = CStr::from_bytes_until_nul(name) else {
                break;
            };
            if !matches!(name.to_bytes(), b"." | b"..") && !each(name) {
                return Ok(());
            }
            if length == 0 {
                break;
            }
            at += length;
        }
    }
}

/// The names in a folder, at most `limit`.
pub fn names(folder: RawFd, limit: usize) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for_each_name(folder, |name| {
        names.push(name.to_owned());
        names.len() < limit
    })?;
    Ok(names)
}
