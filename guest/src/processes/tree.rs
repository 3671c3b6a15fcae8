//! A process with all its descendants: counted, signalled, and ended together (invariant 10).

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use crate::kernel::descriptor;
use crate::limits::survey;

const PIDS_MAX_BYTES: usize = 4 << 20;
const KILL_WAIT_MIN: Duration = Duration::from_millis(1);
const KILL_WAIT_MAX: Duration = Duration::from_millis(20);

pub enum Tree {
    Group(Group),
    /// The pid of the supervisor; everything below it in /proc belongs to the tree.
    Supervised(Cell<i32>),
}

impl Tree {
    pub fn pids(&self) -> Vec<i32> {
        match self {
            Self::Group(group) => group.pids().unwrap_or_default(),
            Self::Supervised(supervisor) => match supervisor.get() {
                // Nothing was started; below 0 would be everything.
                0 => Vec::new(),
                supervisor => survey::descendants(supervisor),
            },
        }
    }

    /// The agent's own helper that holds the tree, which is none of its members.
    pub fn supervisor(&self) -> Option<i32> {
        match self {
            Self::Group(_) => None,
            Self::Supervised(supervisor) => Some(supervisor.get()).filter(|pid| *pid > 0),
        }
    }

    pub fn limit_processes(&self, limit: Option<u64>) {
        if let Self::Group(group) = self {
            group.limit_processes(limit);
        }
    }

    /// Sends a signal to each member once and gives how many got it.
    pub fn signal(&self, signal: i32) -> usize {
        self.pids().into_iter().filter(|pid| unsafe { libc::kill(*pid, signal) == 0 }).count()
    }

    /// Kills until nothing is left and gives how many were there. setsid, double forks and fork
    /// bombs do not help: membership is the kernel's, and forking is stopped first where it can be.
    pub async fn kill(&self) -> usize {
        let mut seen = HashSet::new();
        let mut wait = KILL_WAIT_MIN;
        loop {
            let pids = self.pids();
            if pids.is_empty() {
                return seen.len();
            }
            if let Self::Group(group) = self {
                group.stop_forks();
            }
            for pid in pids {
                unsafe { libc::kill(pid, libc::SIGKILL) };
                seen.insert(pid);
            }
            sleep(wait).await;
            wait = (wait * 2).min(KILL_WAIT_MAX);
        }
    }

    /// How many there are; cheaper than naming them where a group counts itself.
    pub fn count(&self) -> u64 {
        match self {
            Self::Group(group) => group.current().unwrap_or_else(|| self.pids().len() as u64),
            Self::Supervised(_) => self.pids().len() as u64,
        }
    }

    /// Whether the kernel has refused this tree a fork, where it counts refusals.
    pub fn was_refused(&self) -> bool {
        match self {
            Self::Group(group) => group.was_refused(),
            Self::Supervised(_) => false,
        }
    }

    /// Frees the group; false while something is still in it.
    pub fn remove(&self) -> bool {
        match self {
            Self::Group(group) => group.remove(),
            Self::Supervised(_) => true,
        }
    }
}

/// One cgroup: of cgroup2, or of gVisor's pids hierarchy.
pub struct Group {
    parent: Rc<OwnedFd>,
    /// Gone with the group: records of ended processes hold no descriptors.
    folder: RefCell<Option<OwnedFd>>,
    name: CString,
    unified: bool,
}

impl Group {
    pub fn new(parent: Rc<OwnedFd>, folder: OwnedFd, name: CString, unified: bool) -> Self {
        Self { parent, folder: RefCell::new(Some(folder)), name, unified }
    }

    /// A descriptor that a child writes itself into.
    pub fn entrance(&self) -> io::Result<OwnedFd> {
        self.open(c"cgroup.procs", libc::O_WRONLY)
    }

    pub fn limit_processes(&self, limit: Option<u64>) {
        let limit = limit.map_or("max".to_owned(), |limit| limit.to_string());
        // cgroup2 has the file only where the host delegated the controller.
        let _ = self.write(c"pids.max", limit.as_bytes());
    }

    pub fn remove(&self) -> bool {
        if self.folder.borrow().is_none() {
            return true;
        }
        let (parent, name) = (self.parent.as_raw_fd(), self.name.as_ptr());
        let removed = unsafe { libc::unlinkat(parent, name, libc::AT_REMOVEDIR) == 0 };
        if removed {
            self.folder.borrow_mut().take();
        }
        removed
    }

    fn pids(&self) -> io::Result<Vec<i32>> {
        let text = self.read(c"cgroup.procs")?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 1).collect())
    }

    fn stop_forks(&self) {
        if self.unified {
            let _ = self.write(c"cgroup.kill", b"1");
        } else {
            let _ = self.write(c"pids.max", b"0");
        }
    }

    fn current(&self) -> Option<u64> {
        self.read(c"pids.current").ok()?.trim().parse().ok()
    }

    fn was_refused(&self) -> bool {
        // gVisor has no such file.
        if !self.unified {
            return false;
        }
        let Ok(events) = self.read(c"pids.events") else { return false };
        let count = events.lines().find_map(|line| line.strip_prefix("max "));
        count.and_then(|count| count.trim().parse().ok()).is_some_and(|count: u64| count > 0)
    }

    fn open(&self, name: &CStr, flags: i32) -> io::Result<OwnedFd> {
        match self.folder.borrow().as_ref() {
            Some(folder) => descriptor::open_at(folder.as_raw_fd(), name, flags, 0),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn read(&self, name: &CStr) -> io::Result<String> {
        let file = self.open(name, libc::O_RDONLY)?;
        let bytes = descriptor::read_small(file.as_raw_fd(), PIDS_MAX_BYTES)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn write(&self, name: &CStr, value: &[u8]) -> io::Result<()> {
        let file = self.open(name, libc::O_WRONLY)?;
        descriptor::write(file.as_raw_fd(), value).map(drop)
    }
}
