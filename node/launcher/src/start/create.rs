//! Runs the runtime's own commands inside the cgroups, and finds the process that is the sandbox.

use super::{Context, RuntimeEnds};
use crate::fault::{AtStep, Fault, Outcome};
use crate::kernel::poll::Interest;
use crate::kernel::process::{self, End, Forked};
use crate::kernel::{affinity, mount, timer};
use crate::launch::{Command, Kind, Launch};
use serde_json::Value;
use std::fs::{self, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

/// Exit code of the child when a step before exec failed.
const EXIT_BEFORE_EXEC: i32 = 117;

/// Runs a command to its end. With `ends` its descriptors 0 and 1 are the byte streams, else /dev/null.
pub fn run(context: &mut Context, command: &Command, ends: Option<&RuntimeEnds>) -> Outcome<()> {
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .at("create", "open /dev/null")?;
    let (stdin, stdout) = ends.map_or((null.as_raw_fd(), null.as_raw_fd()), |ends| {
        (ends.stdin.as_raw_fd(), ends.stdout.as_raw_fd())
    });
    let stderr = ends.map_or(context.log.write_end(), |ends| ends.stderr.as_raw_fd());
    let parent = process::pid();
    let child = match process::fork().at("create", "fork")? {
        Forked::Child => become_runtime(context, command, [stdin, stdout, stderr], parent),
        Forked::Parent(pid) => pid,
    };
    let pidfd = process::open_pidfd(child).at("create", "watch the runtime's command")?;
    let ended = wait(context, child, &pidfd);
    if ended.is_err() {
        let _ = process::kill(child, libc::SIGKILL);
    }
    match ended? {
        End::Code(0) => Ok(()),
        end => Err(failure(context, command, end)),
    }
}

fn failure(context: &mut Context, command: &Command, end: End) -> Fault {
    let how = match end {
        End::Code(EXIT_BEFORE_EXEC) => "could not be started".to_owned(),
        End::Code(code) => format!("ended with code {code}"),
        End::Signal(signal) => format!("was killed by signal {signal}"),
    };
    let said = context.log.tail();
    let said = if said.is_empty() {
        "it said nothing".to_owned()
    } else {
        format!("it said: {said}")
    };
    Fault::new(
        "runtime_unavailable",
        "create",
        format!(
            "cannot create {}: {} {how}; {said}",
            context.launch.id, command.argv[0]
        ),
    )
}

fn wait(context: &mut Context, child: i32, pidfd: &OwnedFd) -> Outcome<End> {
    let mut interest = Interest::new();
    loop {
        interest.clear();
        let ended = interest.add(pidfd.as_raw_fd(), true, false);
        let log = interest.add(context.log.read_end(), true, false);
        let result = interest.add(context.result.as_raw_fd(), false, false);
        let left_ms = context.until_ms.saturating_sub(timer::monotonic_ms());
        if left_ms == 0 {
            let limit_ms = context.launch.timeout_ms;
            return Err(Fault::new(
                "deadline_node",
                "create",
                format!(
                    "cannot create {}: not done in {limit_ms} ms",
                    context.launch.id
                ),
            ));
        }
        interest
            .wait(Some(left_ms))
            .at("create", "wait for the runtime's command")?;
        if interest.readable(log) {
            context.log.take();
        }
        if interest.readable(ended) {
            while let Some((pid, end)) = process::reap(-1) {
                if pid == child {
                    return Ok(end);
                }
            }
        }
        if interest.broken(result) {
            return Err(Fault::new(
                "canceled",
                "create",
                format!("start of {} was given up by the caller", context.launch.id),
            ));
        }
    }
}

/// Never returns: the child becomes the runtime's command or says on its standard error why not.
fn become_runtime(context: &Context, command: &Command, fds: [RawFd; 3], parent: i32) -> ! {
    let error = match enter(context, fds, parent) {
        Ok(()) => process::exec(&command.argv, &command.env),
        Err(fault) => std::io::Error::other(fault.message),
    };
    let line = format!("{}: {error}\n", command.argv[0]);
    let _ = crate::kernel::socket::write(std::io::stderr().as_fd(), line.as_bytes());
    process::exit_now(EXIT_BEFORE_EXEC)
}

fn enter(context: &Context, fds: [RawFd; 3], parent: i32) -> Outcome<()> {
    const STEP: &str = "create";
    // The log first: later steps can be read there.
    process::place_fd(fds[2], 2).at(STEP, "place the log")?;
    if !process::die_with_parent(parent) {
        return Err(Fault::new("canceled", STEP, "the launcher is gone"));
    }
    context.cgroups.join().at(STEP, "join the cgroups")?;
    if let (Kind::Container, Some(unified)) = (context.launch.kind, context.cgroups.beside()) {
        // crun refuses a host with both versions, although it has no cgroup to make here.
        mount::detach(unified).at(STEP, format!("hide {}", unified.display()))?;
    }
    process::set_timer_slack_ns(context.launch.timer_slack_ns).at(STEP, "set the timer slack")?;
    if let Some(count) = context.launch.cpu_affinity_count {
        let all = affinity::affinity(0).at(STEP, "read the affinity")?;
        let some = affinity::some_cpus(&all, count, process::pid().unsigned_abs() as usize);
        affinity::set_affinity(0, &some).at(STEP, "set the affinity")?;
    }
    // Lowering it needs CAP_SYS_RESOURCE, which a host may not have: then the kernel chooses as it does by default.
    let adjusted = fs::write(
        "/proc/self/oom_score_adj",
        context.launch.oom_score_adj.to_string(),
    );
    if context.launch.oom_score_adj >= 0 {
        adjusted.at(STEP, "set oom_score_adj")?;
    }
    process::reset_signals();
    process::place_fd(fds[0], 0).at(STEP, "place standard input")?;
    process::place_fd(fds[1], 1).at(STEP, "place standard output")?;
    process::close_all_but(&[]);
    Ok(())
}

/// The process that is the sandbox, as the runtime wrote it down.
pub fn runtime_pid(launch: &Launch) -> Outcome<i32> {
    let (file, read): (_, fn(&str) -> Option<i64>) = match &launch.pid_file {
        Some(file) => (file.clone(), |text| text.trim().parse().ok()),
        None => {
            let state = launch
                .state_files
                .iter()
                .find(|path| path.extension().is_some_and(|end| end == "state"));
            let state = state.ok_or_else(|| {
                Fault::new(
                    "invalid_request",
                    "create",
                    "launch has neither pidFile nor a .state file in stateFiles",
                )
            })?;
            (state.clone(), |text| {
                serde_json::from_str::<Value>(text)
                    .ok()?
                    .pointer("/sandbox/pid")?
                    .as_i64()
            })
        }
    };
    let text = fs::read_to_string(&file).at("create", format!("read {}", file.display()))?;
    read(&text)
        .and_then(|pid| i32::try_from(pid).ok())
        .filter(|&pid| pid > 1)
        .ok_or_else(|| {
            Fault::new(
                "internal",
                "create",
                format!("no process id in {}", file.display()),
            )
        })
}
