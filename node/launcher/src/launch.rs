//! LAUNCH.json (docs/reference/launcher-protocol.md), parsed once.

mod fields;

use crate::fault::{Fault, Outcome};
use fields::{Fields, bad};
use serde_json::Value;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Gvisor,
    Container,
}

/// A program with its whole environment.
#[derive(Debug, Clone)]
pub struct Command {
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
pub struct Limits {
    pub memory_bytes: u64,
    pub cpu_millis: u64,
    /// As cgroup2 counts: 1 to 10,000, 100 is normal.
    pub cpu_weight: u64,
    pub pids: u64,
}

pub const NORMAL_CPU_WEIGHT: u64 = 100;
pub const MOST_CPU_WEIGHT: u64 = 10_000;

/// A cgroup2 directory for the guest agent's own use.
#[derive(Debug, Clone)]
pub struct Delegate {
    pub owner_uid: u32,
    /// Where it shows in the private mount namespace.
    pub mountpoint: PathBuf,
}

#[derive(Debug, Clone)]
pub struct CgroupPlan {
    pub parent: String,
    pub limits: Limits,
    pub delegate: Option<Delegate>,
    /// Where the memory controller's directory shows, read-only, in the private mount namespace.
    pub memory_mountpoint: Option<PathBuf>,
    /// The same of the pids controller.
    pub pids_mountpoint: Option<PathBuf>,
}

#[derive(Debug, Clone)]
pub enum Mask {
    File { file: PathBuf, over: PathBuf },
    Empty(PathBuf),
}

#[derive(Debug, Clone)]
pub struct Disk {
    pub image: PathBuf,
    pub mountpoint: PathBuf,
}

#[derive(Debug, Clone)]
pub struct Rootfs {
    pub erofs: PathBuf,
    pub mountpoint: PathBuf,
    pub overlay_upper: PathBuf,
    pub overlay_work: PathBuf,
    pub merged: PathBuf,
    pub idmap_base: u32,
}

#[derive(Debug, Clone)]
pub struct Gvisor {
    pub control_socket: PathBuf,
    pub calls: Vec<(String, Value)>,
}

#[derive(Debug, Clone)]
pub struct Launch {
    pub id: String,
    pub directory: PathBuf,
    pub kind: Kind,
    pub create: Command,
    pub start: Option<Command>,
    pub pid_file: Option<PathBuf>,
    pub state_files: Vec<PathBuf>,
    pub timeout_ms: u64,
    pub timer_slack_ns: u64,
    pub cpu_affinity_count: Option<usize>,
    pub oom_score_adj: i32,
    pub cgroup: CgroupPlan,
    /// A directory of the host over which, in the private namespace, an empty tmpfs is mounted.
    pub scratch: Option<PathBuf>,
    pub masks: Vec<Mask>,
    pub disk: Option<Disk>,
    pub rootfs: Option<Rootfs>,
    pub gvisor: Option<Gvisor>,
    pub deadline_unix_ms: Option<i64>,
}

impl Launch {
    /// Reads and checks the whole document.
    pub fn read(file: &Path) -> Outcome<Self> {
        let text = std::fs::read(file)
            .map_err(|error| Fault::os("launch", format!("read {}", file.display()), &error))?;
        let value: Value = serde_json::from_slice(&text).map_err(|error| {
            Fault::new(
                "invalid_request",
                "launch",
                format!("cannot parse {}: {error}", file.display()),
            )
        })?;
        Self::parse(&value)
    }

    pub fn parse(value: &Value) -> Outcome<Self> {
        let fields = Fields::of(value, "launch")?;
        let id = fields.text("id")?;
        if id.len() > 64
            || !id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        {
            return Err(bad("launch.id", "at most 64 letters, digits, _ and -"));
        }
        let kind = match fields.text("kind")?.as_str() {
            "gvisor" => Kind::Gvisor,
            "container" => Kind::Container,
            _ => return Err(bad("launch.kind", "gvisor or container")),
        };
        let adjust = fields
            .get("oomScoreAdj")
            .and_then(Value::as_i64)
            .unwrap_or(0);
        Ok(Self {
            id,
            directory: fields.path("directory")?,
            kind,
            create: fields
                .command("create")?
                .ok_or_else(|| bad("launch.create", "an object"))?,
            start: fields.command("start")?,
            pid_file: fields
                .get("pidFile")
                .map(|_| fields.path("pidFile"))
                .transpose()?,
            state_files: paths(fields.list("stateFiles")?)?,
            timeout_ms: fields.number("timeoutMs")?,
            timer_slack_ns: fields.number("timerSlackNs")?,
            cpu_affinity_count: fields
                .get("cpuAffinityCount")
                .and_then(Value::as_u64)
                .map(|count| count.max(1) as usize),
            oom_score_adj: adjust.clamp(-1000, 1000) as i32,
            cgroup: cgroup(&fields)?,
            scratch: fields
                .get("scratch")
                .map(|_| fields.path("scratch"))
                .transpose()?,
            masks: masks(&fields)?,
            disk: disk(&fields)?,
            rootfs: rootfs(&fields)?,
            gvisor: gvisor(&fields)?,
            deadline_unix_ms: fields.get("deadlineUnixMs").and_then(Value::as_i64),
        })
    }
}

fn paths(values: &[Value]) -> Outcome<Vec<PathBuf>> {
    let all = values.iter().map(|value| {
        value
            .as_str()
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    });
    all.collect::<Option<Vec<_>>>()
        .ok_or_else(|| bad("launch.stateFiles", "absolute paths"))
}

fn cgroup(launch: &Fields) -> Outcome<CgroupPlan> {
    let fields = launch
        .child("cgroup")?
        .ok_or_else(|| bad("launch.cgroup", "an object"))?;
    let parent = fields.text("parent")?;
    if parent.starts_with('/')
        || parent
            .split('/')
            .any(|part| part.is_empty() || part == "." || part == "..")
    {
        return Err(bad(
            "launch.cgroup.parent",
            "a relative path without . and ..",
        ));
    }
    let optional_path = |name| fields.get(name).map(|_| fields.path(name)).transpose();
    let delegate = fields.child("delegate")?;
    let delegate = delegate.map(|delegate| -> Outcome<Delegate> {
        Ok(Delegate {
            owner_uid: delegate.uid("ownerUid")?,
            mountpoint: delegate.path("mountpoint")?,
        })
    });
    let limits = Limits {
        memory_bytes: fields.number("memoryBytes")?,
        cpu_millis: fields.number("cpuMillis")?,
        cpu_weight: fields
            .get("cpuWeight")
            .and_then(Value::as_u64)
            .unwrap_or(NORMAL_CPU_WEIGHT)
            .clamp(1, MOST_CPU_WEIGHT),
        pids: fields.number("pids")?,
    };
    Ok(CgroupPlan {
        parent,
        limits,
        delegate: delegate.transpose()?,
        memory_mountpoint: optional_path("memoryMountpoint")?,
        pids_mountpoint: optional_path("pidsMountpoint")?,
    })
}

fn masks(launch: &Fields) -> Outcome<Vec<Mask>> {
    let read = |(index, value): (usize, &Value)| {
        let fields = Fields::of(value, &format!("launch.masks[{index}]"))?;
        if fields.get("tmpfs").is_some() {
            return Ok(Mask::Empty(fields.path("tmpfs")?));
        }
        Ok(Mask::File {
            file: fields.path("file")?,
            over: fields.path("over")?,
        })
    };
    launch.list("masks")?.iter().enumerate().map(read).collect()
}

fn disk(launch: &Fields) -> Outcome<Option<Disk>> {
    let Some(fields) = launch.child("disk")? else {
        return Ok(None);
    };
    Ok(Some(Disk {
        image: fields.path("image")?,
        mountpoint: fields.path("mountpoint")?,
    }))
}

fn rootfs(launch: &Fields) -> Outcome<Option<Rootfs>> {
    let Some(fields) = launch.child("rootfs")? else {
        return Ok(None);
    };
    if launch.child("disk")?.is_none() {
        return Err(bad("launch.disk", "an object where there is a rootfs"));
    }
    Ok(Some(Rootfs {
        erofs: fields.path("erofs")?,
        mountpoint: fields.path("mountpoint")?,
        overlay_upper: fields.path("overlayUpper")?,
        overlay_work: fields.path("overlayWork")?,
        merged: fields.path("merged")?,
        idmap_base: fields.uid("idmapBase")?,
    }))
}

fn gvisor(launch: &Fields) -> Outcome<Option<Gvisor>> {
    let Some(fields) = launch.child("gvisor")? else {
        return Ok(None);
    };
    let read = |(index, value): (usize, &Value)| {
        let call = Fields::of(value, &format!("launch.gvisor.calls[{index}]"))?;
        Ok((
            call.text("method")?,
            call.object.get("arg").cloned().unwrap_or(Value::Null),
        ))
    };
    let calls = fields
        .list("calls")?
        .iter()
        .enumerate()
        .map(read)
        .collect::<Outcome<Vec<_>>>()?;
    Ok(Some(Gvisor {
        control_socket: fields.path("controlSocket")?,
        calls,
    }))
}
