//! What every image holds besides its own content: the agent and the places it needs. Works in an
//! empty tree, and whatever the archive put in the way is replaced.
use crate::failure::{Failure, Outcome};
use crate::tree::{self, Tree, check};
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};

const AGENT_BYTES: u64 = 64 * 1024 * 1024;
const MOUNT_POINTS: [(&CStr, u32); 5] = [
    (c"proc", 0o555),
    (c"dev", 0o755),
    (c"sys", 0o555),
    (c"run", 0o755),
    (c"tmp", 0o1777),
];

/// Writes `/.atoll`, the mount points and `/tmp/.keep`; answers with the agent's size.
pub fn seal(tree: &Tree, agent: impl Read) -> Outcome<u64> {
    let act = |error: io::Error| Failure::from_io("put the agent into the image", &error);
    let root = tree.resolve(&[]).map_err(act)?;
    let top = root.as_raw_fd();
    tree::remove(top, c".atoll").map_err(act)?;
    let home = directory(top, c".atoll", 0o755).map_err(act)?;
    for name in [c"disk", c"root", c"cgroup"] {
        directory(home.as_raw_fd(), name, 0o755).map_err(act)?;
    }
    let size = write(&home, c"agent", 0o555, agent.take(AGENT_BYTES)).map_err(act)?;
    for (name, mode) in MOUNT_POINTS {
        let place = directory(top, name, mode).map_err(act)?;
        if name == c"tmp" {
            // runsc mounts a tmpfs of its own, without a size, over a /tmp that is empty.
            tree::remove(place.as_raw_fd(), c".keep").map_err(act)?;
            write(&place, c".keep", 0o644, io::empty()).map_err(act)?;
        }
    }
    Ok(size)
}

/// An existing directory stays as it is; anything else gives way to a new one.
fn directory(parent: i32, name: &CStr, mode: u32) -> io::Result<OwnedFd> {
    let there = tree::stat(parent, name).is_ok_and(|found| found.st_mode & libc::S_IFMT == libc::S_IFDIR);
    if !there {
        tree::remove(parent, name)?;
        // SAFETY: the name lives over the call. The umask is 0.
        check(unsafe { libc::mkdirat(parent, name.as_ptr(), mode) })?;
        tree::set_epoch(parent, name)?;
    }
    tree::open_at(parent, name, libc::O_RDONLY | libc::O_DIRECTORY, 0)
}

fn write(parent: &OwnedFd, name: &CStr, mode: u32, mut content: impl Read) -> io::Result<u64> {
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL;
    let mut file = File::from(tree::open_at(parent.as_raw_fd(), name, flags, mode)?);
    let size = io::copy(&mut content, &mut file)?;
    tree::set_epoch(parent.as_raw_fd(), name)?;
    Ok(size)
}
