//! What holds a process's tree together, found by trying at start.

use std::cell::Cell;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use super::tree::{Group, Tree};
use crate::kernel::{descriptor, mounts};
use crate::limits::refusals::Refusals;

/// Where the agent may mount for a moment; a template holds it as an empty folder.
const CGROUP_MOUNT_POINT: &std::ffi::CStr = c"/.atoll/cgroup";
const CGROUP2_FOLDER_VARIABLE: &str = "ATOLL_CGROUP2_DIR";

/// The hierarchy in which each process gets a group, or none: then a supervisor per process is
/// the subreaper of its tree.
pub struct Containment {
    root: Option<Rc<OwnedFd>>,
    unified: bool,
    next: Cell<u64>,
    pub refusals: Refusals,
}

impl Containment {
    pub fn find() -> Self {
        let found =
            delegated().map(|root| (root, true)).or_else(|| own().map(|root| (root, false)));
        let (root, unified) = match found {
            Some((root, unified)) => (Some(Rc::new(root)), unified),
            None => (None, false),
        };
        let refusals = Refusals::find();
        let containment = Self { root, unified, next: Cell::new(1), refusals };
        match containment.group(None) {
            Ok(Some(group)) => {
                group.remove();
                containment
            }
            Ok(None) => containment,
            Err(error) => {
                eprintln!("atoll-agent: no cgroup for processes: {error}; using supervisors");
                Self { root: None, unified: false, ..containment }
            }
        }
    }

    pub fn kind(&self) -> &'static str {
        match (&self.root, self.unified) {
            (None, _) => "supervisor",
            (Some(_), true) => "cgroup2",
            (Some(_), false) => "cgroup1-pids",
        }
    }

    /// A new group for one process, `None` where there is no hierarchy.
    pub fn group(&self, processes_limit: Option<u64>) -> io::Result<Option<Group>> {
        let Some(root) = &self.root else {
            return Ok(None);
        };
        let number = self.next.replace(self.next.get() + 1);
        let name = CString::new(format!("p{number}"))?;
        let made = || unsafe { libc::mkdirat(root.as_raw_fd(), name.as_ptr(), 0o700) as isize };
        descriptor::retry(made)?;
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        let folder = descriptor::open_at(root.as_raw_fd(), &name, flags, 0)?;
        let group = Group::new(root.clone(), folder, name, self.unified);
        if processes_limit.is_some() {
            group.limit_processes(processes_limit);
        }
        Ok(Some(group))
    }

    /// A tree that has a group, or waits for its supervisor's pid.
    pub fn tree(&self, processes_limit: Option<u64>) -> io::Result<Tree> {
        Ok(match self.group(processes_limit)? {
            Some(group) => Tree::Group(group),
            None => Tree::Supervised(Cell::new(0)),
        })
    }
}

/// A cgroup2 folder that the host made for us. Root inside could move its processes out of their
/// groups there, so nobody but the holder of the descriptor keeps it.
fn delegated() -> Option<OwnedFd> {
    let folder = std::env::var(CGROUP2_FOLDER_VARIABLE).ok()?;
    let path = CString::new(folder).ok()?;
    let root = descriptor::open(&path, libc::O_RDONLY | libc::O_DIRECTORY).ok()?;
    mounts::detach(&path);
    Some(root)
}

/// gVisor's own pids hierarchy, by a mount that is detached at once: nobody but the holder of
/// the descriptor reaches it.
fn own() -> Option<OwnedFd> {
    if unsafe { libc::getpid() } != 1 {
        return None;
    }
    let mounted = unsafe {
        let kind = c"cgroup".as_ptr();
        let options = c"pids".as_ptr().cast();
        libc::mount(c"none".as_ptr(), CGROUP_MOUNT_POINT.as_ptr(), kind, 0, options)
    };
    if mounted != 0 {
        return None;
    }
    let root = descriptor::open(CGROUP_MOUNT_POINT, libc::O_RDONLY | libc::O_DIRECTORY).ok();
    mounts::detach(CGROUP_MOUNT_POINT);
    root
}
