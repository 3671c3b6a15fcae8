//! A container's root: EROFS by loop, shifted ids, and an overlay on its own ext4.

use crate::fault::{AtStep, Outcome};
use crate::kernel::{loop_device, mount, process};
use crate::launch::{Disk, Rootfs};
use std::fs::{self, DirBuilder};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

const IDS: u32 = 65_536;

fn directory(path: &Path) -> Outcome<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .at("mounts", format!("make {}", path.display()))
}

/// The sandbox's writable disk: its size is its limit.
pub fn mount_disk(plan: &Disk) -> Outcome<()> {
    directory(&plan.mountpoint)?;
    let act = || format!("mount {}", plan.image.display());
    let (device, kept) = loop_device::attach(&plan.image, false).at("mounts", act())?;
    let flags = libc::MS_NODEV | libc::MS_NOATIME;
    mount::mount(&device, &plan.mountpoint, "ext4", flags, "discard").at("mounts", act())?;
    drop(kept);
    Ok(())
}

/// Image below, disk above. The user 0 of both is the sandbox's first id on this host: a disk that is copied to
/// another sandbox belongs to that one's ids at once.
pub fn mount_rootfs(plan: &Rootfs, disk: &Disk) -> Outcome<()> {
    directory(&plan.mountpoint)?;
    directory(&plan.merged)?;
    let act = || format!("mount {}", plan.erofs.display());
    let (device, kept) = loop_device::attach(&plan.erofs, true).at("mounts", act())?;
    let flags = libc::MS_RDONLY | libc::MS_NODEV | libc::MS_NOATIME;
    mount::mount(&device, &plan.mountpoint, "erofs", flags, "").at("mounts", act())?;
    drop(kept);
    for path in [&plan.overlay_upper, &plan.overlay_work] {
        directory(path)?;
    }
    // It is the sandbox's root folder, and the umask is ours.
    fs::set_permissions(&plan.overlay_upper, fs::Permissions::from_mode(0o755))
        .at("mounts", format!("open {}", plan.overlay_upper.display()))?;
    let namespace =
        mount::user_namespace(plan.idmap_base, IDS).at("mounts", "make a user namespace")?;
    for point in [&plan.mountpoint, &disk.mountpoint] {
        mount::id_mapped(point, point, namespace.as_fd())
            .at("mounts", format!("shift the ids of {}", point.display()))?;
    }
    let data = format!(
        "lowerdir={},upperdir={},workdir={}",
        plan.mountpoint.display(),
        plan.overlay_upper.display(),
        plan.overlay_work.display()
    );
    // What the overlay makes for itself belongs to who mounts it, and user 0 of the host has no id on that disk.
    process::with_file_ids(plan.idmap_base, || {
        mount::mount(
            Path::new("overlay"),
            &plan.merged,
            "overlay",
            libc::MS_NODEV | libc::MS_NOATIME,
            &data,
        )
    })
    .at(
        "mounts",
        format!("lay {} over the image", plan.overlay_upper.display()),
    )
}
