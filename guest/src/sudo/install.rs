//! Puts the agent in the place of the image's `sudo` where that cannot work.

use std::ffi::CStr;
use std::io;

use crate::kernel::descriptor;

const PROGRAM: &CStr = c"/usr/bin/sudo";
const AGENT: &CStr = c"/.atoll/agent";
const LINK: &CStr = c"/usr/bin/.sudo.atoll";

/// Does nothing in an image without sudo, or where set-user-id works. A link and no mount: a
/// package manager can replace it, and the container's agent may not mount.
pub fn install() -> io::Result<()> {
    // gVisor answers 1 and ignores the bits; in the container the runtime has set it.
    let no_set_id = unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 };
    let mut found: libc::stat = unsafe { std::mem::zeroed() };
    let exists = unsafe { libc::lstat(PROGRAM.as_ptr(), &mut found) == 0 };
    if !no_set_id || !exists || found.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Ok(());
    }
    unsafe { libc::unlink(LINK.as_ptr()) };
    let (link, program) = (LINK.as_ptr(), PROGRAM.as_ptr());
    descriptor::retry(|| unsafe { libc::symlink(AGENT.as_ptr(), link) as isize })?;
    descriptor::retry(|| unsafe { libc::rename(link, program) as isize }).map(drop)
}
