//! A cgroup of the sandbox that the host shows to the agent alone.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::kernel::{descriptor, mounts};

const FILE_MAX_BYTES: usize = 8_192;

/// Opens the folder that the variable names and takes it out of the sight of users; `None` where the
/// host shows none.
pub fn open(variable: &str) -> Option<OwnedFd> {
    let path = CString::new(std::env::var(variable).ok()?).unwrap_or_default();
    let opened = descriptor::open(&path, libc::O_PATH | libc::O_DIRECTORY);
    mounts::detach(&path);
    opened.inspect_err(|error| eprintln!("atoll-agent: cannot open {variable}: {error}")).ok()
}

pub fn read(folder: RawFd, name: &CStr) -> Option<String> {
    let file = descriptor::open_at(folder, name, libc::O_RDONLY, 0).ok()?;
    let bytes = descriptor::read_small(file.as_raw_fd(), FILE_MAX_BYTES).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
