//! `atoll-launcher run`: starts the two processes, waits for the sandbox, tells.

use crate::cgroup::{self, Cgroups};
use crate::end;
use crate::fault::{AtStep, Fault, Outcome};
use crate::kernel::process::{self, Forked};
use crate::kernel::{memory, poll, socket, timer};
use crate::launch::Launch;
use crate::record::{Identity, Record};
use crate::shim::log::Log;
use crate::shim::shared::{DeadlineAction, Shared, Stage};
use crate::shim::{Held, Shim, spare};
use crate::start::{self, RuntimeEnds, Timings};
use serde_json::json;
use std::fs::OpenOptions;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// Runs LAUNCH.json; the answer is the exit code.
pub fn run(file: &Path) -> i32 {
    match begin(file) {
        Ok(line) => {
            println!("{line}");
            0
        }
        Err(line) => {
            eprintln!("{line}");
            1
        }
    }
}

fn begin(file: &Path) -> Result<String, String> {
    let launch = Launch::read(file).map_err(|fault| fault.line())?;
    start::check_directory(&launch).map_err(|fault| fault.line())?;
    let pipe = socket::pipe().at("launcher", "make a pipe");
    let (result, tell) = pipe.map_err(|fault| fault.line())?;
    match process::fork()
        .at("launcher", "fork")
        .map_err(|fault| fault.line())?
    {
        Forked::Child => {
            drop(result);
            become_pair(launch, tell)
        }
        Forked::Parent(_) => {
            drop(tell);
            await_result(&launch, &result)
        }
    }
}

/// Reads the one line; both processes gone without a word is a fault that is cleaned up here.
fn await_result(launch: &Launch, result: &OwnedFd) -> Result<String, String> {
    const GRACE_MS: u64 = 15_000;
    let until = timer::monotonic_ms() + launch.timeout_ms + GRACE_MS;
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let left_ms = until.saturating_sub(timer::monotonic_ms());
        let mut chunk = [0u8; 4096];
        let got = if poll::wait_readable(result.as_raw_fd(), left_ms) {
            socket::read(result.as_fd(), &mut chunk).unwrap_or(0)
        } else {
            0
        };
        if got == 0 {
            crate::reap::clean(&launch.directory).map_err(|fault| fault.line())?;
            let message = format!(
                "cannot start {}: both launcher processes were killed; start it again",
                launch.id
            );
            return Err(Fault::new("internal", "launcher", message).line());
        }
        line.extend_from_slice(&chunk[..got]);
    }
    let text = String::from_utf8_lossy(&line[1..line.len() - 1]).into_owned();
    if line[0] == b'+' { Ok(text) } else { Err(text) }
}

/// The daemon's session, folder, umask and descriptors are left behind.
fn detach(result: &OwnedFd) -> Outcome<()> {
    process::new_session().at("launcher", "begin a session")?;
    process::set_umask(0o077);
    std::env::set_current_dir("/").at("launcher", "go to /")?;
    process::close_all_but(&[result.as_raw_fd()]);
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .at("launcher", "open /dev/null")?;
    for fd in 0..3 {
        process::place_fd(null.as_raw_fd(), fd).at("launcher", "place /dev/null")?;
    }
    process::become_subreaper().at("launcher", "become subreaper")?;
    // Losing the shim costs more than losing what it holds. Refused without privileges, and then it is as before.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-900");
    Ok(())
}

fn become_pair(launch: Launch, result: OwnedFd) -> ! {
    let shared: &'static Shared =
        match detach(&result).and_then(|()| memory::shared_page().at("launcher", "share a page")) {
            Ok(shared) => shared,
            Err(fault) => {
                let _ = socket::write(result.as_fd(), format!("-{}\n", fault.line()).as_bytes());
                process::exit_now(1)
            }
        };
    shared.set_deadline(launch.deadline_unix_ms, DeadlineAction::Kill);
    let made = cgroup::find().and_then(|host| {
        let cgroups = Cgroups::plan(
            &host,
            &launch.cgroup.parent,
            &launch.id,
            launch.cgroup.delegate.is_some(),
        );
        let mut record = plan(&launch, &cgroups);
        record.write()?;
        let held = hold(&launch);
        let (held, ends) = held.inspect_err(|_| drop(end::everything(&record, &mut None)))?;
        let guard = process::pid();
        match process::fork().at("launcher", "fork")? {
            Forked::Child => {
                record.shim = Identity::of(process::pid());
                record.spare = Identity::of(guard);
                lead(launch.clone(), record, cgroups, shared, held, ends, &result)
            }
            Forked::Parent(pid) => {
                drop(ends);
                let active = process::open_pidfd(pid).at("launcher", "watch the shim")?;
                Ok((cgroups, held, active))
            }
        }
    });
    match made {
        Ok((cgroups, held, active)) => {
            spare::guard(launch, cgroups, shared, held, &active, Some(result))
        }
        Err(fault) => {
            let _ = std::fs::remove_file(Record::path(&launch.directory));
            spare::report_failure(shared, Some(&result), &fault);
            process::exit_now(1)
        }
    }
}

/// What will be, before anything of it is.
fn plan(launch: &Launch, cgroups: &Cgroups) -> Record {
    Record {
        id: launch.id.clone(),
        directory: launch.directory.clone(),
        stage: "starting".to_owned(),
        spare: Identity::of(process::pid()),
        cgroups: cgroups.paths(),
        state_files: launch
            .state_files
            .iter()
            .chain(&launch.pid_file)
            .cloned()
            .collect(),
        mounts: start::planned_mounts(launch),
        deadline_unix_ms: launch.deadline_unix_ms,
        ..Record::default()
    }
}

fn hold(launch: &Launch) -> Outcome<(Held, RuntimeEnds)> {
    const BUFFER_BYTES: i32 = 512 * 1024;
    let (guest_in, stdin) = socket::pair().at("launcher", "make a socket pair")?;
    let (guest_out, stdout) = socket::pair().at("launcher", "make a socket pair")?;
    for fd in [&guest_in, &stdin, &guest_out, &stdout] {
        socket::set_buffers(fd.as_fd(), BUFFER_BYTES);
    }
    let listen = |name: &str| {
        let path = launch.directory.join(name);
        socket::listen(&path).at("launcher", format!("listen on {}", path.display()))
    };
    let log = Log::open(&launch.directory)?;
    let stderr = log.new_writer()?;
    let held = Held {
        guest_in,
        guest_out,
        agent_listener: listen(end::SOCKETS[0])?,
        shim_listener: listen(end::SOCKETS[1])?,
        log,
    };
    Ok((
        held,
        RuntimeEnds {
            stdin,
            stdout,
            stderr,
        },
    ))
}

/// The shim: starts the runtime, tells, serves.
fn lead(
    launch: Launch,
    mut record: Record,
    cgroups: Cgroups,
    shared: &'static Shared,
    mut held: Held,
    ends: RuntimeEnds,
    result: &OwnedFd,
) -> ! {
    process::set_name("atoll-shim");
    let started = process::become_subreaper()
        .at("launcher", "become subreaper")
        .and_then(|()| record.write())
        .and_then(|()| {
            start::begin(
                &launch,
                &cgroups,
                &mut record,
                ends,
                &mut held.log,
                result.as_fd(),
            )
        })
        .and_then(|timings| announce(&launch, &mut record, shared, result, &timings));
    if let Err(fault) = started {
        let cleaned = end::everything(&record, &mut None);
        if cleaned.is_ok() {
            let _ = std::fs::remove_file(launch.directory.join("runtime.log"));
            end::forget(&record);
        }
        shared.set_stage(Stage::Over);
        spare::report_failure(
            shared,
            Some(result),
            &match cleaned {
                Ok(_) => fault,
                Err(left) => Fault::new(
                    fault.code,
                    fault.step,
                    format!("{}; and {}", fault.message, left.message),
                ),
            },
        );
        process::exit_now(1)
    }
    match Shim::new(launch, record, shared, cgroups, held) {
        Ok(shim) => shim.serve(),
        // The spare takes over and tries for itself.
        Err(_) => process::exit_now(4),
    }
}

fn announce(
    launch: &Launch,
    record: &mut Record,
    shared: &Shared,
    result: &OwnedFd,
    timings: &Timings,
) -> Outcome<()> {
    "running".clone_into(&mut record.stage);
    record.write()?;
    let (Some(shim), Some(runtime)) = (record.shim, record.runtime) else {
        return Err(Fault::new(
            "internal",
            "launcher",
            "a process has no identity",
        ));
    };
    let line = json!({
        "shimPid": shim.pid,
        "shimStartTime": shim.start_time,
        "runtimePid": runtime.pid,
        "runtimeStartTime": runtime.start_time,
        "timings": timings.json(),
    });
    shared.set_stage(Stage::Running);
    if shared.claim_report()
        && socket::write(result.as_fd(), format!("+{line}\n").as_bytes()).is_err()
    {
        return Err(Fault::new(
            "canceled",
            "launcher",
            format!("nobody waits for the start of {} any more", launch.id),
        ));
    }
    Ok(())
}
