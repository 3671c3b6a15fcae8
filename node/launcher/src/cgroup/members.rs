//! Who is in recorded cgroups, and how to let them die: by the record alone, for `reap`.

use super::numbers;
use crate::record::Record;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Processes in the recorded directories and whatever was made below them.
pub fn members(record: &Record) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    for path in &record.cgroups {
        for directory in below(path) {
            found.extend(numbers(&directory.join("cgroup.procs")));
        }
    }
    found
}

/// Thaws what is frozen and asks cgroup2 to kill, by the record alone. Absent files are another version's.
pub fn release(record: &Record) {
    for path in &record.cgroups {
        for (file, value) in [
            ("freezer.state", "THAWED"),
            ("cgroup.freeze", "0"),
            ("cgroup.kill", "1"),
        ] {
            if path.join(file).exists() {
                let _ = fs::write(path.join(file), value);
            }
        }
    }
}

/// A directory and all below it, deepest first.
pub fn below(path: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    if let Ok(entries) = fs::read_dir(path) {
        for entry in entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        {
            all.extend(below(&entry.path()));
        }
        all.push(path.to_owned());
    }
    all
}
