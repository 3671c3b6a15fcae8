//! Mounts that only the agent is to reach.

use std::ffi::CStr;
use std::io;

/// Takes a mount out of everybody's sight; open descriptors below it stay good.
pub fn detach(path: &CStr) {
    if unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) } == 0 {
        return;
    }
    let error = io::Error::last_os_error();
    // EINVAL: it is a folder and no mount, as in tests on a host.
    if error.raw_os_error() != Some(libc::EINVAL) {
        eprintln!("atoll-agent: cannot hide {}: {error}", path.to_string_lossy());
    }
}
