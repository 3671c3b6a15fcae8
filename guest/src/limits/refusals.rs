//! Forks that the host's kernel refused the sandbox, as its pids controller counts them.

use std::os::fd::{AsRawFd, OwnedFd};

use super::meminfo::row;
use super::shown_cgroup;
use crate::kernel::descriptor;

const CGROUP_FOLDER_VARIABLE: &str = "ATOLL_PIDS_CGROUP_DIR";
const EVENTS_MAX_BYTES: usize = 256;
/// By so many a command's RLIMIT_NPROC exceeds the cgroup's number, so that the cgroup refuses first:
/// of root's processes the agent is one, and the one too many is counted before it is refused.
const RLIMIT_SPARE: u64 = 2;

/// The counter, where the host shows it. There the cgroup holds the agent and exactly the sandbox's
/// processes; elsewhere RLIMIT_NPROC or gVisor's pids controller refuses, and nobody counts.
pub struct Refusals(Option<OwnedFd>);

impl Refusals {
    pub fn find() -> Self {
        let Some(folder) = shown_cgroup::open(CGROUP_FOLDER_VARIABLE) else { return Self(None) };
        let events = descriptor::open_at(folder.as_raw_fd(), c"pids.events", libc::O_RDONLY, 0);
        let refusals = Self(events.ok());
        if refusals.count().is_none() {
            eprintln!("atoll-agent: {CGROUP_FOLDER_VARIABLE} cannot be read; counting processes");
            return Self(None);
        }
        refusals
    }

    pub fn are_counted(&self) -> bool {
        self.0.is_some()
    }

    /// So far; `None` where nobody counts.
    pub fn count(&self) -> Option<u64> {
        let mut bytes = [0; EVENTS_MAX_BYTES];
        // From the start again, which makes the kernel write it anew.
        let length = descriptor::read_at(self.0.as_ref()?.as_raw_fd(), &mut bytes, 0).ok()?;
        row(std::str::from_utf8(&bytes[..length]).ok()?, "max ")
    }

    /// The RLIMIT_NPROC of commands where the sandbox may have `processes`.
    pub fn command_limit(&self, processes: Option<u64>) -> Option<u64> {
        let spare = if self.are_counted() { RLIMIT_SPARE } else { 0 };
        processes.map(|processes| processes + spare)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;

    #[test]
    fn counts_anew_from_the_same_descriptor() {
        let path = std::env::temp_dir().join(format!("atoll-refusals-{}", std::process::id()));
        let mut file = File::create(&path).unwrap();
        file.write_all(b"max 3\n").unwrap();
        let refusals = Refusals(Some(File::open(&path).unwrap().into()));
        assert_eq!(refusals.count(), Some(3));
        std::fs::write(&path, "max 41\n").unwrap();
        assert_eq!(refusals.count(), Some(41));
        assert_eq!(refusals.command_limit(Some(64)), Some(66));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn where_nobody_counts_the_limit_is_the_sandboxs() {
        let none = Refusals(None);
        assert_eq!((none.count(), none.command_limit(Some(64))), (None, Some(64)));
        assert_eq!(none.command_limit(None), None);
    }
}
