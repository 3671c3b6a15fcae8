//! From LAUNCH.json to a running sandbox, step by step. Whatever comes to be is in the record before it is.

mod affinity;
pub mod control_socket;
mod create;
mod disk;

use crate::cgroup::Cgroups;
use crate::fault::{AtStep, Fault, Outcome};
use crate::kernel::{loop_device, mount, timer};
use crate::launch::{Kind, Launch, Mask};
use crate::record::{Identity, Record};
use crate::shim::log::Log;
use serde_json::{Map, Value};
use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The guest's ends of the byte streams: handed to the runtime, then closed here.
pub struct RuntimeEnds {
    pub stdin: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// Durations by stage, in milliseconds.
#[derive(Default)]
pub struct Timings(Map<String, Value>);

impl Timings {
    fn stage<T>(&mut self, name: &str, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        let since = std::time::Instant::now();
        let done = work();
        self.0.insert(
            name.to_owned(),
            ((since.elapsed().as_secs_f64() * 10_000.0).round() / 10.0).into(),
        );
        done
    }

    pub fn json(&self) -> Value {
        Value::Object(self.0.clone())
    }
}

/// What every step may need.
pub struct Context<'a> {
    pub launch: &'a Launch,
    pub cgroups: &'a Cgroups,
    pub log: &'a mut Log,
    /// Closed by the daemon's side when nobody waits for the start any more.
    pub result: BorrowedFd<'a>,
    pub until_ms: u64,
}

/// Starts everything. On an error the caller ends what the record names.
pub fn begin(
    launch: &Launch,
    cgroups: &Cgroups,
    record: &mut Record,
    ends: RuntimeEnds,
    log: &mut Log,
    result: BorrowedFd,
) -> Outcome<Timings> {
    let mut timings = Timings::default();
    let until_ms = timer::monotonic_ms() + launch.timeout_ms;
    let home =
        File::open("/proc/self/ns/mnt").at("namespace", "open the host's mount namespace")?;
    timings.stage("cgroups", || {
        let whole_on_oom = launch.kind == Kind::Gvisor;
        cgroups.create(
            &launch.cgroup.limits,
            launch.cgroup.delegate.as_ref(),
            whole_on_oom,
        )
    })?;
    let mut context = Context {
        launch,
        cgroups,
        log,
        result,
        until_ms,
    };
    let created = timings
        .stage("mounts", || prepare_mounts(launch, cgroups))
        .and_then(|()| {
            timings.stage("create", || {
                create::run(&mut context, &launch.create, Some(&ends))
            })
        });
    drop(ends);
    // Also after a failure: the mounts live as long as someone is among them.
    mount::enter_namespace(home.as_fd())
        .at("namespace", "go back to the host's mount namespace")?;
    created?;
    let runtime = create::runtime_pid(launch)?;
    let identity = Identity::of(runtime).ok_or_else(|| {
        Fault::new(
            "internal",
            "create",
            format!("runtime process {runtime} ended at once"),
        )
    })?;
    record.runtime = Some(identity);
    "created".clone_into(&mut record.stage);
    record.write()?;
    timings.stage("boot", || boot(&mut context))?;
    timings.stage("affinity", || affinity::widen(launch, cgroups))?;
    Ok(timings)
}

fn boot(context: &mut Context) -> Outcome<()> {
    if let Some(command) = &context.launch.start {
        create::run(context, command, None)?;
    }
    if let Some(gvisor) = &context.launch.gvisor {
        for (method, argument) in &gvisor.calls {
            let left_ms = context
                .until_ms
                .saturating_sub(timer::monotonic_ms())
                .max(1);
            control_socket::call(&gvisor.control_socket, method, argument, &[], left_ms)?;
        }
    }
    Ok(())
}

/// Everything is mounted in a namespace of its own: it vanishes with the last process in it, whoever dies how.
fn prepare_mounts(launch: &Launch, cgroups: &Cgroups) -> Outcome<()> {
    mount::private_namespace().at("namespace", "make a private mount namespace")?;
    if let Some(scratch) = &launch.scratch {
        mount::scratch(scratch).at("mounts", format!("mount a tmpfs at {}", scratch.display()))?;
    }
    for mask in &launch.masks {
        match mask {
            Mask::File { file, over } => {
                let act = || format!("bind {} over {}", file.display(), over.display());
                if launch
                    .scratch
                    .as_ref()
                    .is_some_and(|scratch| over.starts_with(scratch))
                {
                    // A copy: mountinfo inside would tell the path of what is bound.
                    fs::copy(file, over).at("mounts", act())?;
                } else {
                    mount::bind_read_only(file, over).at("mounts", act())?;
                }
            }
            Mask::Empty(over) => {
                mount::empty_read_only(over).at("mounts", format!("mask {}", over.display()))?;
            }
        }
    }
    show_cgroups(launch, cgroups)?;
    if let Some(plan) = &launch.disk {
        disk::mount_disk(plan)?;
    }
    if let (Some(plan), Some(disk)) = (&launch.rootfs, &launch.disk) {
        disk::mount_rootfs(plan, disk)?;
    }
    Ok(())
}

/// What others may do with a cgroup that is shown: list and read.
const SHOWN_MODE: u32 = 0o755;

/// The agent of a container sees three of its cgroups, and nothing above them.
fn show_cgroups(launch: &Launch, cgroups: &Cgroups) -> Outcome<()> {
    let act = |point: &Path| format!("show a cgroup at {}", point.display());
    if let Some(delegate) = &launch.cgroup.delegate {
        let point = &delegate.mountpoint;
        let source = cgroups.delegated().ok_or_else(|| {
            let message = "cannot delegate a cgroup: no cgroup2 is mounted; mount -t cgroup2 none /sys/fs/cgroup/unified";
            Fault::new("runtime_unavailable", "cgroup", message)
        })?;
        fs::create_dir_all(point).at("mounts", act(point))?;
        mount::mount(source, point, "", libc::MS_BIND, "").at("mounts", act(point))?;
    }
    let counted = [
        (&launch.cgroup.memory_mountpoint, cgroups.memory()),
        (&launch.cgroup.pids_mountpoint, cgroups.pids()),
    ];
    for (point, directory) in counted {
        let Some(point) = point else { continue };
        fs::create_dir_all(point).at("mounts", act(point))?;
        // Made 0700 by a root that does not exist in there. It shows numbers, and is bound read-only.
        let open = fs::Permissions::from_mode(SHOWN_MODE);
        fs::set_permissions(&directory, open).at("mounts", act(point))?;
        mount::bind_read_only(&directory, point).at("mounts", act(point))?;
    }
    Ok(())
}

/// Mounts that the plan makes, for the receipt.
pub fn planned_mounts(launch: &Launch) -> Vec<std::path::PathBuf> {
    let disk = launch.disk.iter().map(|disk| disk.mountpoint.clone());
    let rootfs = launch
        .rootfs
        .iter()
        .flat_map(|root| [root.mountpoint.clone(), root.merged.clone()]);
    disk.chain(rootfs).collect()
}

/// True while the kernel still holds loop devices of the sandbox's folder.
pub fn loops_left(directory: &std::path::Path) -> bool {
    !loop_device::backed_by(directory).is_empty()
}

/// The folder is the daemon's: it exists and is 0700.
pub fn check_directory(launch: &Launch) -> Outcome<()> {
    use std::os::unix::fs::MetadataExt;
    let found = fs::metadata(&launch.directory).at(
        "directory",
        format!("look at {}", launch.directory.display()),
    )?;
    if !found.is_dir() || found.mode() & 0o077 != 0 {
        let message = format!(
            "cannot use {}: it must be a directory with mode 0700",
            launch.directory.display()
        );
        return Err(Fault::new("invalid_request", "directory", message));
    }
    if Record::path(&launch.directory).exists() {
        let message = format!(
            "cannot start {}: its folder has a shim.json; run reap on it first",
            launch.id
        );
        return Err(Fault::new("conflict", "directory", message));
    }
    Ok(())
}
