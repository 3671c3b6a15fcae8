//! mkfs.erofs in the jail: it walks a hostile tree, and sees the archive's ids because it shares
//! the user namespace with the unpacker.
use crate::failure::{Failure, Outcome};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Replaces this process by mkfs.erofs; returns only when that failed.
/// Its standard output, a line for each file, goes to `null`.
pub fn pack(program: &str, options: &[String], null: &OwnedFd) -> Outcome<i32> {
    let mut words = vec![program.to_owned()];
    words.extend_from_slice(options);
    words.extend(["/out/image.erofs".to_owned(), "/tree".to_owned()]);
    let words: Vec<CString> = words
        .into_iter()
        .map(|word| CString::new(word).map_err(|_| Failure::internal("an option holds a NUL byte")))
        .collect::<Outcome<_>>()?;
    let mut pointers: Vec<*const libc::c_char> = words.iter().map(|word| word.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let environment = [c"PATH=/usr/bin:/usr/sbin".as_ptr(), std::ptr::null()];
    // SAFETY: both arrays end with null and their strings live until the program is replaced; the
    // descriptors are ours, and the copy of standard output is put back for the error.
    unsafe {
        let stdout = libc::fcntl(1, libc::F_DUPFD_CLOEXEC, 3);
        libc::dup2(null.as_raw_fd(), 1);
        libc::execve(pointers[0], pointers.as_ptr(), environment.as_ptr());
        libc::dup2(stdout, 1);
    }
    Err(Failure::internal(format!(
        "cannot start {program} in the jail: {}; install erofs-utils",
        io::Error::last_os_error()
    )))
}
