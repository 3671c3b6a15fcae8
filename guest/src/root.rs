//! Gives the sandbox a root whose fullness is ENOSPC: an overlay of the read-only image with a
//! size-limited disk. The overlay that gVisor makes itself is unlimited and fails with EIO.

use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;

use crate::kernel::descriptor;

const DISK: &CStr = c"/.atoll/disk";
const UPPER: &CStr = c"/.atoll/disk/upper";
const WORK: &CStr = c"/.atoll/disk/work";
const ROOT: &CStr = c"/.atoll/root";
const OVERLAY_OPTIONS: &CStr = c"lowerdir=/,upperdir=/.atoll/disk/upper,workdir=/.atoll/disk/work";
const CARRIED: [(&CStr, &CStr); 3] = [
    (c"/proc", c"/.atoll/root/proc"),
    (c"/dev", c"/.atoll/root/dev"),
    (c"/sys", c"/.atoll/root/sys"),
];
const ROOT_MODE: u32 = 0o755;

/// Does nothing where the host has prepared the root and `/.atoll/disk` is no mount. Else gives the
/// overlay's upper folder, which has no path any more: what differs from the image lies there.
pub fn set_up() -> io::Result<Option<OwnedFd>> {
    if !is_mount(DISK)? {
        return Ok(None);
    }
    for folder in [UPPER, WORK] {
        step("make", folder, unsafe { libc::mkdir(folder.as_ptr(), ROOT_MODE) })?;
    }
    let upper = descriptor::open(UPPER, libc::O_RDONLY | libc::O_DIRECTORY)?;
    // The overlay's root takes the upper folder's mode and owner.
    let overlay = c"overlay".as_ptr();
    let options = OVERLAY_OPTIONS.as_ptr().cast();
    step("mount overlay at", ROOT, unsafe {
        libc::mount(overlay, ROOT.as_ptr(), overlay, 0, options)
    })?;
    for (from, to) in CARRIED {
        let flags = libc::MS_BIND | libc::MS_REC;
        step("carry over", from, unsafe {
            libc::mount(from.as_ptr(), to.as_ptr(), std::ptr::null(), flags, std::ptr::null())
        })?;
    }
    step("enter", ROOT, unsafe { libc::chdir(ROOT.as_ptr()) })?;
    let here = c".".as_ptr();
    let pivoted = unsafe { libc::syscall(libc::SYS_pivot_root, here, here) };
    step("pivot to", ROOT, pivoted as i32)?;
    step("let go of", c"the old root", unsafe { libc::umount2(here, libc::MNT_DETACH) })?;
    step("enter", c"/", unsafe { libc::chdir(c"/".as_ptr()) })?;
    Ok(Some(upper))
}

/// A mount has another device number than the folder above it.
fn is_mount(path: &CStr) -> io::Result<bool> {
    let device = |path: &CStr| {
        let mut found: libc::stat = unsafe { std::mem::zeroed() };
        descriptor::retry(|| unsafe { libc::lstat(path.as_ptr(), &mut found) as isize })
            .map(|_| found.st_dev)
    };
    match device(path) {
        Ok(own) => Ok(own != device(c"/.atoll")?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn step(act: &str, operand: &CStr, result: i32) -> io::Result<()> {
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    let operand = operand.to_string_lossy();
    Err(io::Error::new(error.kind(), format!("cannot {act} {operand} for the root: {error}")))
}
