//! Which cgroup hierarchies this host has mounted.

use crate::fault::{Fault, Outcome};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// Controllers that a sandbox needs.
pub const NEEDED: [&str; 5] = ["memory", "cpu", "cpuacct", "pids", "freezer"];

#[derive(Debug)]
pub enum Host {
    /// One mount for each controller; beside them perhaps an empty cgroup2.
    V1 {
        controllers: BTreeMap<String, PathBuf>,
        unified: Option<PathBuf>,
    },
    V2(PathBuf),
}

/// Looks at the mounts.
pub fn find() -> Outcome<Host> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")
        .map_err(|error| Fault::os("cgroup", "read /proc/self/mountinfo", &error))?;
    find_in(&mounts)
}

fn find_in(mounts: &str) -> Outcome<Host> {
    let mut controllers = BTreeMap::new();
    let mut unified = None;
    for line in mounts.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let Some(point) = left.split(' ').nth(4).map(PathBuf::from) else {
            continue;
        };
        let mut after = right.split(' ');
        match (after.next(), after.nth(1)) {
            (Some("cgroup"), Some(options)) => {
                for name in options.split(',').filter(|name| NEEDED.contains(name)) {
                    controllers.insert(name.to_owned(), point.clone());
                }
            }
            // The first: later ones are parts of it that were bound elsewhere.
            (Some("cgroup2"), _) => unified = unified.or(Some(point)),
            _ => {}
        }
    }
    if NEEDED.iter().all(|&name| controllers.contains_key(name)) {
        return Ok(Host::V1 {
            controllers,
            unified,
        });
    }
    unified.map(Host::V2).ok_or_else(|| {
        Fault::new(
            "runtime_unavailable",
            "cgroup",
            "cannot limit sandboxes: the controllers memory, cpu, cpuacct, pids and freezer are mounted neither as cgroup v1 nor as cgroup2; mount cgroup2 at /sys/fs/cgroup",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &str =
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate";

    #[test]
    fn finds_version_two_alone() {
        assert!(
            matches!(find_in(V2), Ok(Host::V2(root)) if root == std::path::Path::new("/sys/fs/cgroup"))
        );
    }

    #[test]
    fn prefers_version_one_with_all_controllers_over_an_empty_unified_mount() {
        let lines: Vec<String> = NEEDED
            .iter()
            .map(|name| format!("1 2 0:3 / /c/{name} rw - cgroup cgroup rw,{name}"))
            .collect();
        let text = format!(
            "{}\n4 2 0:5 / /c/unified rw - cgroup2 cgroup2 rw",
            lines.join("\n")
        );
        let Ok(Host::V1 {
            controllers,
            unified,
        }) = find_in(&text)
        else {
            panic!("not v1")
        };
        assert_eq!(controllers["pids"], PathBuf::from("/c/pids"));
        assert_eq!(unified, Some(PathBuf::from("/c/unified")));
    }

    #[test]
    fn refuses_a_host_without_controllers() {
        assert_eq!(
            find_in("1 2 0:3 / / rw - ext4 /dev/vda rw")
                .unwrap_err()
                .code,
            "runtime_unavailable"
        );
    }
}
