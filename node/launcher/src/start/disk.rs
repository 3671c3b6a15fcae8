//! A container's root: EROFS by loop, shifted ids, and an overlay on its own ext4.

use crate::fault::{AtStep, Outcome};
use crate::kernel::{loop_device, mount};
use crate::launch::{Disk, Rootfs};
use std::fs::{self, DirBuilder};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, chown};
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

/// Image below, disk above. The image's user 0 is the sandbox's first id.
pub fn mount_rootfs(plan: &Rootfs) -> Outcome<()> {
    directory(&plan.mountpoint)?;
    directory(&plan.merged)?;
    let act = || format!("mount {}", plan.erofs.display());
    let (device, kept) = loop_device::attach(&plan.erofs, true).at("mounts", act())?;
    let flags = libc::MS_RDONLY | libc::MS_NODEV | libc::MS_NOATIME;
    mount::mount(&device, &plan.mountpoint, "erofs", flags, "").at("mounts", act())?;
    drop(kept);
    let namespace =
        mount::user_namespace(plan.idmap_base, IDS).at("mounts", "make a user namespace")?;
    mount::id_mapped(&plan.mountpoint, &plan.mountpoint, namespace.as_fd()).at(
        "mounts",
        format!("shift the ids of {}", plan.mountpoint.display()),
    )?;
    for path in [&plan.overlay_upper, &plan.overlay_work] {
        directory(path)?;
    }
    fs::set_permissions(
        &plan.overlay_upper,
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .and_then(|()| {
        chown(
            &plan.overlay_upper,
            Some(plan.idmap_base),
            Some(plan.idmap_base),
        )
    })
    .at("mounts", format!("own {}", plan.overlay_upper.display()))?;
    let data = format!(
        "lowerdir={},upperdir={},workdir={}",
        plan.mountpoint.display(),
        plan.overlay_upper.display(),
        plan.overlay_work.display()
    );
    mount::mount(
        Path::new("overlay"),
        &plan.merged,
        "overlay",
        libc::MS_NODEV | libc::MS_NOATIME,
        &data,
    )
    .at(
        "mounts",
        format!("lay {} over the image", plan.overlay_upper.display()),
    )
}
