//! Mounts and the private mount namespace.

use super::{c_path, check, check_long};
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

/// Leaves the host's mount namespace. Nothing mounted here shows outside; what the host unmounts goes here, too,
/// so that a sandbox never keeps a volume of the host busy.
pub fn private_namespace() -> io::Result<()> {
    // SAFETY: no memory but static strings is passed.
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNS))?;
        check(libc::mount(
            c"none".as_ptr(),
            c"/".as_ptr(),
            std::ptr::null(),
            libc::MS_REC | libc::MS_SLAVE,
            std::ptr::null(),
        ))
        .map(drop)
    }
}

/// Goes back to a namespace that was kept open.
pub fn enter_namespace(namespace: BorrowedFd) -> io::Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS) }).map(drop)
}

pub fn mount(
    source: &Path,
    target: &Path,
    kind: &str,
    flags: libc::c_ulong,
    data: &str,
) -> io::Result<()> {
    let (source, target) = (c_path(source)?, c_path(target)?);
    let invalid = |_| io::Error::from_raw_os_error(libc::EINVAL);
    let (kind, data) = (
        CString::new(kind).map_err(invalid)?,
        CString::new(data).map_err(invalid)?,
    );
    // SAFETY: all strings live through the call.
    check(unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags,
            data.as_ptr().cast(),
        )
    })
    .map(drop)
}

/// Shows `file` at `over`, read-only.
pub fn bind_read_only(file: &Path, over: &Path) -> io::Result<()> {
    mount(file, over, "", libc::MS_BIND, "")?;
    mount(
        file,
        over,
        "",
        libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV,
        "",
    )
}

/// Takes a mount out of this namespace.
pub fn detach(point: &Path) -> io::Result<()> {
    let point = c_path(point)?;
    // SAFETY: the path lives through the call.
    check(unsafe { libc::umount2(point.as_ptr(), libc::MNT_DETACH) }).map(drop)
}

/// An empty place for mountpoints that everyone may pass.
pub fn scratch(over: &Path) -> io::Result<()> {
    mount(
        Path::new("none"),
        over,
        "tmpfs",
        libc::MS_NOSUID | libc::MS_NODEV,
        "size=1m,mode=755",
    )
}

pub fn empty_read_only(over: &Path) -> io::Result<()> {
    mount(
        Path::new("none"),
        over,
        "tmpfs",
        libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV,
        "size=4k,mode=555",
    )
}

/// A user namespace that maps `count` ids from 0 to `base`, held by its descriptor only.
pub fn user_namespace(base: u32, count: u32) -> io::Result<OwnedFd> {
    use super::process::{self, Forked};
    let (ready, tell) = super::socket::pipe()?;
    let child = match process::fork()? {
        Forked::Child => {
            // SAFETY: no memory is passed.
            let done = unsafe { libc::unshare(libc::CLONE_NEWUSER) } == 0;
            let _ = super::socket::write(std::os::fd::AsFd::as_fd(&tell), &[u8::from(done)]);
            loop {
                super::timer::sleep_ms(1000);
            }
        }
        Forked::Parent(pid) => pid,
    };
    drop(tell);
    let opened = (|| {
        let mut byte = [0u8];
        super::socket::read(std::os::fd::AsFd::as_fd(&ready), &mut byte)?;
        if byte[0] != 1 {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        let map = format!("0 {base} {count}\n");
        for name in ["uid_map", "gid_map"] {
            fs::OpenOptions::new()
                .write(true)
                .open(format!("/proc/{child}/{name}"))?
                .write_all(map.as_bytes())?;
        }
        File::open(format!("/proc/{child}/ns/user")).map(OwnedFd::from)
    })();
    let _ = process::kill(child, libc::SIGKILL);
    while process::reap(child).is_none() && process::start_time(child).is_some() {
        std::thread::yield_now();
    }
    opened
}

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Shows the mount at `source` at `target` with its owners shifted into the user namespace.
pub fn id_mapped(source: &Path, target: &Path, namespace: BorrowedFd) -> io::Result<()> {
    const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
    const OPEN_TREE_CLONE: libc::c_uint = 1;
    const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 4;
    let (source, target) = (c_path(source)?, c_path(target)?);
    // SAFETY: strings and the struct live through the calls; the descriptor is new and nobody else's.
    unsafe {
        let tree = check_long(libc::syscall(
            libc::SYS_open_tree,
            libc::AT_FDCWD,
            source.as_ptr(),
            OPEN_TREE_CLONE | libc::O_CLOEXEC.cast_unsigned(),
        ))?;
        let tree = OwnedFd::from_raw_fd(i32::try_from(tree).unwrap_or(-1));
        let attributes = MountAttr {
            set: MOUNT_ATTR_IDMAP,
            clear: 0,
            propagation: 0,
            user_namespace: u64::from(namespace.as_raw_fd().cast_unsigned()),
        };
        check_long(libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<MountAttr>(),
        ))?;
        check_long(libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        ))
        .map(drop)
    }
}
