//! Reading and writing descriptors without a buffer in between.

use std::ffi::CStr;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use tokio::io::unix::AsyncFd;

/// Repeats a call that a signal interrupted.
pub fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        let result = call();
        if result >= 0 {
            return Ok(result as usize);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

pub fn read(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    retry(|| unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) })
}

pub fn read_at(fd: RawFd, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let at = offset as libc::off_t;
    retry(|| unsafe { libc::pread(fd, buffer.as_mut_ptr().cast(), buffer.len(), at) })
}

pub fn write(fd: RawFd, data: &[u8]) -> io::Result<usize> {
    retry(|| unsafe { libc::write(fd, data.as_ptr().cast(), data.len()) })
}

pub fn write_all(fd: RawFd, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        let written = write(fd, data)?;
        data = &data[written..];
    }
    Ok(())
}

pub fn write_vectored(fd: RawFd, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    retry(|| unsafe { libc::writev(fd, parts.as_ptr().cast(), parts.len() as libc::c_int) })
}

pub fn write_all_vectored(fd: RawFd, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !parts.is_empty() {
        let written = write_vectored(fd, parts)?;
        IoSlice::advance_slices(&mut parts, written);
    }
    Ok(())
}

/// A folder and nothing that leads to one.
const FOLDER_ITSELF: i32 = libc::O_DIRECTORY | libc::O_NOFOLLOW;

/// Opens relative to `folder` (or `AT_FDCWD`), always close-on-exec.
///
/// gVisor 20240729 follows a symlink in spite of `O_DIRECTORY | O_NOFOLLOW`, unless `O_PATH` is there too
/// (measured by tests/security/files-tar.test.ts): such a folder is taken by `O_PATH` first.
pub fn open_at(folder: RawFd, path: &CStr, flags: i32, mode: u32) -> io::Result<OwnedFd> {
    if flags & FOLDER_ITSELF != FOLDER_ITSELF || flags & libc::O_PATH != 0 {
        return open_as_is(folder, path, flags, mode);
    }
    let place = open_as_is(folder, path, libc::O_PATH | FOLDER_ITSELF, 0)?;
    open_as_is(place.as_raw_fd(), c".", flags, mode)
}

fn open_as_is(folder: RawFd, path: &CStr, flags: i32, mode: u32) -> io::Result<OwnedFd> {
    let flags = flags | libc::O_CLOEXEC;
    let fd = retry(|| unsafe { libc::openat(folder, path.as_ptr(), flags, mode) as isize })?;
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

pub fn open(path: &CStr, flags: i32) -> io::Result<OwnedFd> {
    open_at(libc::AT_FDCWD, path, flags, 0)
}

pub fn set_nonblocking(fd: RawFd) -> io::Result<()> {
    let flags = retry(|| unsafe { libc::fcntl(fd, libc::F_GETFL) as isize })?;
    let flags = flags as i32 | libc::O_NONBLOCK;
    retry(|| unsafe { libc::fcntl(fd, libc::F_SETFL, flags) as isize }).map(drop)
}

/// A pipe, both ends close-on-exec; `(read, write)`.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    retry(|| unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) as isize })?;
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// Reads a small file whole; what is beyond `limit_bytes` is left out.
pub fn read_small(fd: RawFd, limit_bytes: usize) -> io::Result<Vec<u8>> {
    let mut content = vec![0; limit_bytes.min(4_096)];
    let mut length = 0;
    loop {
        if length == content.len() {
            if length >= limit_bytes {
                break;
            }
            content.resize((length * 4).min(limit_bytes), 0);
        }
        match read(fd, &mut content[length..])? {
            0 => break,
            count => length += count,
        }
    }
    content.truncate(length);
    Ok(content)
}

/// Lets the event loop tell when a descriptor is ready.
pub fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // Safety: an OwnedFd stays the same open descriptor until it is dropped.
    unsafe { AsyncFd::register(fd) }.map_err(io::Error::from)
}
