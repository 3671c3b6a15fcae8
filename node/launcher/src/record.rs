//! shim.json: what belongs to the sandbox, written before it exists, so that any crash can be cleaned up.

use crate::fault::{AtStep, Outcome};
use crate::kernel::process;
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A process that can be told from a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub pid: i32,
    pub start_time: u64,
}

impl Identity {
    pub fn of(pid: i32) -> Option<Self> {
        process::start_time(pid).map(|start_time| Self { pid, start_time })
    }

    /// The very same process, and not a zombie.
    pub fn is_alive(self) -> bool {
        process::start_time(self.pid) == Some(self.start_time) && !process::is_zombie(self.pid)
    }

    fn json(identity: Option<Self>) -> Value {
        identity.map_or(
            Value::Null,
            |known| json!({ "pid": known.pid, "startTime": known.start_time }),
        )
    }

    fn read(value: &Value) -> Option<Self> {
        let pid = i32::try_from(value.get("pid")?.as_i64()?)
            .ok()
            .filter(|&pid| pid > 1)?;
        Some(Self {
            pid,
            start_time: value.get("startTime")?.as_u64()?,
        })
    }
}

/// Everything that ending the sandbox has to remove.
#[derive(Debug, Clone, Default)]
pub struct Record {
    pub id: String,
    pub directory: PathBuf,
    pub stage: String,
    pub shim: Option<Identity>,
    pub spare: Option<Identity>,
    pub runtime: Option<Identity>,
    /// Cgroup directories, deepest first.
    pub cgroups: Vec<PathBuf>,
    pub state_files: Vec<PathBuf>,
    pub mounts: Vec<PathBuf>,
    pub deadline_unix_ms: Option<i64>,
}

const FILE_NAME: &str = "shim.json";

impl Record {
    pub fn path(directory: &Path) -> PathBuf {
        directory.join(FILE_NAME)
    }

    /// Reads what a launcher wrote; None when there is no record or it is not readable as one.
    pub fn read(directory: &Path) -> Option<Self> {
        let value: Value = serde_json::from_slice(&fs::read(Self::path(directory)).ok()?).ok()?;
        let paths = |name: &str| {
            let list = value
                .get(name)
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            list.iter()
                .filter_map(Value::as_str)
                .map(PathBuf::from)
                .collect::<Vec<_>>()
        };
        // A pid of another boot names nobody.
        let same_boot = value.get("bootId").and_then(Value::as_str) == Some(boot_id().as_str());
        let identity = |name: &str| {
            value
                .get(name)
                .and_then(Identity::read)
                .filter(|_| same_boot)
        };
        Some(Self {
            id: value.get("id")?.as_str()?.to_owned(),
            directory: directory.to_owned(),
            stage: value
                .get("stage")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            shim: identity("shim"),
            spare: identity("spare"),
            runtime: identity("runtime"),
            cgroups: paths("cgroups"),
            state_files: paths("stateFiles"),
            mounts: paths("mounts"),
            deadline_unix_ms: value.get("deadlineUnixMs").and_then(Value::as_i64),
        })
    }

    /// Replaces the file at one instant.
    pub fn write(&self) -> Outcome<()> {
        let value = json!({
            "id": self.id,
            "bootId": boot_id(),
            "stage": self.stage,
            "shimPid": self.shim.map(|shim| shim.pid),
            "shimStartTime": self.shim.map(|shim| shim.start_time),
            "runtimePid": self.runtime.map(|runtime| runtime.pid),
            "runtimeStartTime": self.runtime.map(|runtime| runtime.start_time),
            "shim": Identity::json(self.shim),
            "spare": Identity::json(self.spare),
            "runtime": Identity::json(self.runtime),
            "cgroups": self.cgroups,
            "stateFiles": self.state_files,
            "mounts": self.mounts,
            "deadlineUnixMs": self.deadline_unix_ms,
        });
        let path = Self::path(&self.directory);
        // No fsync: after a crash of the host nothing that it names exists any more.
        replace(&path, value.to_string().as_bytes(), false)
            .at("record", format!("write {}", path.display()))
    }
}

/// Changes with every start of the host.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Writes beside and renames; with `durable` the bytes and the name are on the disk before it returns.
pub fn replace(path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    let beside = path.with_extension("json.new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(bytes)?;
    if durable {
        file.sync_all()?;
    }
    fs::rename(&beside, path)?;
    if durable && let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}
