//! What can be asked on shim.sock.

use super::Shim;
use super::control::{Pending, exit_answer};
use super::shared::DeadlineAction;
use crate::cgroup::Change;
use crate::end::exit::usage_json;
use crate::fault::{AtStep, Fault, Outcome};
use crate::kernel::process::{self, Forked};
use crate::kernel::socket::{self, MOST_PASSED_FDS};
use crate::launch::MOST_CPU_WEIGHT;
use crate::start::control_socket;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;

const MOST_HELPERS: usize = 4;
const CALL_LIMIT_MS: u64 = 120_000;
const LONGEST_CALL_LIMIT_MS: u64 = 3_600_000;

impl Shim {
    pub(super) fn answer_line(&mut self, index: usize, line: &[u8]) {
        let answer = match serde_json::from_slice::<Value>(line) {
            Ok(request) => self.answer_request(index, &request),
            Err(error) => Err(Fault::new(
                "invalid_request",
                "request",
                format!("cannot parse the line: {error}"),
            )),
        };
        let answer = match answer {
            Ok(None) => return,
            Ok(Some(mut value)) => {
                if let Some(object) = value.as_object_mut() {
                    object.insert("ok".to_owned(), true.into());
                }
                value
            }
            Err(fault) => {
                json!({ "ok": false, "code": fault.code, "message": fault.message, "step": fault.step })
            }
        };
        self.controls.list[index].answer(&answer);
    }

    /// None when the answer comes later.
    fn answer_request(&mut self, index: usize, request: &Value) -> Outcome<Option<Value>> {
        let verb = request
            .get("do")
            .and_then(Value::as_str)
            .unwrap_or_default();
        match verb {
            "status" => Ok(Some(self.status())),
            "waitExit" => Ok(self.wait_exit(index)),
            "destroy" => {
                let why = request
                    .get("cause")
                    .and_then(Value::as_str)
                    .unwrap_or("ended on request");
                self.destroy(why).map(Some)
            }
            _ if self.exit.is_some() => Err(Fault::new(
                "sandbox_ended",
                "request",
                format!("cannot {verb} {}: it has ended", self.record.id),
            )),
            "usage" => Ok(Some(usage_json(&self.cgroups.usage()?))),
            "freeze" | "thaw" => self
                .cgroups
                .set_frozen(verb == "freeze")
                .map(|()| Some(json!({}))),
            "resize" => self.resize(request).map(Some),
            "deadline" => self.set_deadline(request).map(Some),
            "call" => self.call(index, request).map(|()| None),
            _ => Err(Fault::new(
                "invalid_request",
                "request",
                "do is none of status, usage, freeze, thaw, resize, deadline, call, waitExit, destroy",
            )),
        }
    }

    fn status(&self) -> Value {
        let state = match &self.exit {
            Some(_) => "ended",
            None if self.cgroups.is_frozen() => "frozen",
            None => "running",
        };
        json!({
            "state": state,
            "runtimePid": self.record.runtime.map(|runtime| runtime.pid),
            "runtimeStartTime": self.record.runtime.map(|runtime| runtime.start_time),
            "shimPid": process::pid(),
            "sparePid": self.record.spare.map(|spare| spare.pid),
            "sessions": self.shared.sessions(),
            "generation": self.session.generation,
            "deadlineUnixMs": self.shared.deadline(),
            "deadlineAction": self.shared.action().word(),
            "frozenByDeadline": self.shared.action() == DeadlineAction::Frozen,
            "exit": self.exit,
        })
    }

    fn wait_exit(&mut self, index: usize) -> Option<Value> {
        if self.exit.is_some() {
            return Some(exit_answer(self.exit.as_ref()));
        }
        self.controls.list[index].pending = Pending::Exit;
        None
    }

    fn resize(&self, request: &Value) -> Outcome<Value> {
        let number = |name: &str| -> Outcome<Option<u64>> {
            match request.get(name).filter(|value| !value.is_null()) {
                None => Ok(None),
                Some(value) => value
                    .as_u64()
                    .filter(|&number| number > 0)
                    .map(Some)
                    .ok_or_else(|| {
                        Fault::new(
                            "invalid_request",
                            "resize",
                            format!("{name} must be a whole number above 0"),
                        )
                    }),
            }
        };
        self.cgroups.set_limits(&Change {
            memory_bytes: number("memoryBytes")?,
            cpu_millis: number("cpuMillis")?,
            cpu_weight: number("cpuWeight")?.map(|weight| weight.min(MOST_CPU_WEIGHT)),
            pids: number("pids")?,
        })?;
        let limits = self.cgroups.limits()?;
        Ok(json!({
            "memoryBytes": limits.memory_bytes,
            "cpuMillis": limits.cpu_millis,
            "cpuWeight": limits.cpu_weight,
            "pids": limits.pids,
        }))
    }

    fn set_deadline(&mut self, request: &Value) -> Outcome<Value> {
        let at = match request.get("unixMs") {
            None => {
                return Err(Fault::new(
                    "invalid_request",
                    "deadline",
                    "unixMs must be a unix time in ms, or null",
                ));
            }
            Some(value) if value.is_null() => None,
            Some(value) => Some(value.as_i64().filter(|&at| at > 0).ok_or_else(|| {
                Fault::new(
                    "invalid_request",
                    "deadline",
                    "unixMs must be a unix time in ms, or null",
                )
            })?),
        };
        let action = match request.get("action").and_then(Value::as_str) {
            None | Some("kill") => DeadlineAction::Kill,
            Some("freeze") => DeadlineAction::Freeze,
            Some(_) => {
                let message = "action must be kill or freeze";
                return Err(Fault::new("invalid_request", "deadline", message));
            }
        };
        self.record.deadline_unix_ms = at;
        self.record.write()?;
        self.shared.set_deadline(at, action);
        self.arm_deadline()?;
        Ok(json!({ "unixMs": self.shared.deadline(), "action": self.shared.action().word() }))
    }

    /// A checkpoint takes a second: a forked helper does it and answers, while bytes go on here.
    fn call(&mut self, index: usize, request: &Value) -> Outcome<()> {
        let gvisor =
            self.launch.gvisor.as_ref().ok_or_else(|| {
                Fault::new("unsupported", "call", "only gVisor has a control socket")
            })?;
        if self.controls.helpers() >= MOST_HELPERS {
            return Err(Fault::new(
                "overloaded",
                "call",
                format!("{MOST_HELPERS} calls are under way; wait for one"),
            ));
        }
        let method = request
            .get("method")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let argument = request.get("arg").cloned().unwrap_or(Value::Null);
        let limit_ms = request
            .get("timeoutMs")
            .and_then(Value::as_u64)
            .unwrap_or(CALL_LIMIT_MS)
            .clamp(1, LONGEST_CALL_LIMIT_MS);
        let files = open_files(request.get("files"))?;
        match process::fork().at("call", "fork a helper")? {
            Forked::Parent(pid) => self.controls.list[index].pending = Pending::Helper(pid),
            Forked::Child => {
                let raw: Vec<i32> = files.iter().map(AsRawFd::as_raw_fd).collect();
                let answer = match control_socket::call(
                    &gvisor.control_socket,
                    &method,
                    &argument,
                    &raw,
                    limit_ms,
                ) {
                    Ok(result) => json!({ "ok": true, "result": result }),
                    Err(fault) => {
                        json!({ "ok": false, "code": fault.code, "message": fault.message })
                    }
                };
                let line = format!("{answer}\n");
                let sent = socket::write(self.controls.list[index].socket.as_fd(), line.as_bytes());
                process::exit_now(i32::from(!sent.is_ok_and(|written| written == line.len())));
            }
        }
        Ok(())
    }
}

fn open_files(files: Option<&Value>) -> Outcome<Vec<File>> {
    let none = Vec::new();
    let list = files.and_then(Value::as_array).unwrap_or(&none);
    if list.len() > MOST_PASSED_FDS {
        return Err(Fault::new(
            "invalid_request",
            "call",
            format!("at most {MOST_PASSED_FDS} files can be passed"),
        ));
    }
    let open = |file: &Value| {
        let path = file
            .get("path")
            .and_then(Value::as_str)
            .filter(|path| path.starts_with('/'));
        let path = path.ok_or_else(|| {
            Fault::new(
                "invalid_request",
                "call",
                "files[].path must be an absolute path",
            )
        })?;
        let write = file.get("mode").and_then(Value::as_str) == Some("write");
        OpenOptions::new()
            .read(true)
            .write(write)
            .create(write)
            .truncate(write)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
            .at("call", format!("open {path}"))
    };
    list.iter().map(open).collect()
}
