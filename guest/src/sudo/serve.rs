//! The agent's side: takes a request, looks who sends it and what the image's rules say, and runs
//! the command in the caller's process tree. Everything that comes in is hostile.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::command::{Command, command};
use super::rules::{self, Caller};
use super::wire::{
    Answer, DESCRIPTORS, HEADER_BYTES, MAGIC, REQUEST_MAX_BYTES, Request, SOCKET_NAME,
};
use crate::agent::Agent;
use crate::identity::users::{self, User};
use crate::kernel::child::{self, Failure, Plan, Step};
use crate::kernel::{descriptor, errno, socket};
use crate::processes::process::WaitResult;
use crate::processes::tree::Tree;

/// Commands that run at a time, and those of them whose request is still coming in.
const RUNNING_MAX: usize = 256;
const READING_MAX: usize = 8;
const REQUEST_WAIT: Duration = Duration::from_secs(5);
const READ_BYTES: usize = 16 << 10;
/// Between SIGHUP and SIGKILL for a command whose caller is gone.
const HANGUP_GRACE: Duration = Duration::from_secs(2);
/// After the kernel had no descriptor or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const FORWARDED: [i32; 10] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGALRM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGCONT,
    libc::SIGTSTP,
    libc::SIGWINCH,
];

pub fn listen() -> io::Result<OwnedFd> {
    socket::listen(SOCKET_NAME)
}

/// Runs for ever.
pub async fn serve(agent: Rc<Agent>, listener: OwnedFd) -> io::Result<()> {
    let listener = descriptor::watched(listener)?;
    let running = Arc::new(Semaphore::new(RUNNING_MAX));
    let reading = Rc::new(Semaphore::new(READING_MAX));
    loop {
        // The rest waits in the backlog, and past that in connect.
        let Ok(permit) = running.clone().acquire_owned().await else { return Ok(()) };
        let mut guard = listener.readable().await?;
        let connection = match guard.try_io(|fd| socket::accept(fd.as_raw_fd())) {
            Err(_) => continue,
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                eprintln!("atoll-agent: cannot accept a call of sudo: {error}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        drop(guard);
        let (agent, reading) = (agent.clone(), reading.clone());
        spawn_local(async move {
            let _permit = permit;
            if let Err(error) = answer(agent, connection, &reading).await {
                eprintln!("atoll-agent: a call of sudo ended: {error}");
            }
        });
    }
}

async fn answer(agent: Rc<Agent>, connection: OwnedFd, reading: &Semaphore) -> io::Result<()> {
    let connection = descriptor::watched(connection)?;
    let received = agent.clock.timeout(REQUEST_WAIT, async {
        let _permit = reading.acquire().await.map_err(io::Error::other)?;
        receive(&connection).await
    });
    let Ok(received) = received.await else { return Ok(()) };
    // The caller was stopped after it had asked.
    agent.quiesce.released().await;
    let answer = match received? {
        Err(why) => Answer::Refused(why),
        Ok((request, sender, streams)) => match run(&agent, &request, sender, streams) {
            Err(why) => Answer::Refused(why),
            Ok(None) => Answer::Allowed,
            Ok(Some((pid, ended))) => {
                let Some(result) = oversee(&agent, &connection, pid, ended).await else {
                    return Ok(());
                };
                match libc::WIFSIGNALED(result.status) {
                    true => Answer::Signaled(libc::WTERMSIG(result.status)),
                    false => Answer::Exited(libc::WEXITSTATUS(result.status)),
                }
            }
        },
    };
    // It fits into an empty socket buffer; a caller that is gone wants no answer.
    let _ = descriptor::write(connection.as_raw_fd(), &answer.encode());
    Ok(())
}

type Sent = (Request, libc::ucred, [OwnedFd; DESCRIPTORS]);

/// Reads one request; the inner error is told to the caller.
async fn receive(connection: &AsyncFd<OwnedFd>) -> io::Result<Result<Sent, String>> {
    let mut header = [0; HEADER_BYTES];
    let received = loop {
        let mut guard = connection.readable().await?;
        if let Ok(result) = guard.try_io(|fd| socket::receive(fd.as_raw_fd(), &mut header)) {
            break result?;
        }
    };
    let broken = || Ok(Err("the request is malformed".to_owned()));
    let Some((magic, length)) = header.split_first_chunk::<4>() else { return broken() };
    let length = length.try_into().map(u32::from_be_bytes).unwrap_or(u32::MAX) as usize;
    if received.count != HEADER_BYTES || *magic != MAGIC {
        return broken();
    }
    if length > REQUEST_MAX_BYTES {
        let message =
            format!("arguments and environment are over {REQUEST_MAX_BYTES} bytes; pass less");
        return Ok(Err(message));
    }
    let (Some(sender), Ok(streams)) = (received.sender, received.descriptors.try_into()) else {
        return broken();
    };
    let mut body = Vec::new();
    let mut piece = vec![0; READ_BYTES];
    while body.len() < length {
        let limit = READ_BYTES.min(length - body.len());
        let mut guard = connection.readable().await?;
        let read = guard.try_io(|fd| descriptor::read(fd.as_raw_fd(), &mut piece[..limit]));
        match read {
            Ok(Ok(0)) => return broken(),
            Ok(count) => body.extend_from_slice(&piece[..count?]),
            Err(_) => continue,
        }
    }
    match Request::decode(&body) {
        Some(request) => Ok(Ok((request, sender, streams))),
        None => broken(),
    }
}

type Started = Option<(i32, oneshot::Receiver<WaitResult>)>;

fn run(
    agent: &Agent,
    request: &Request,
    sender: libc::ucred,
    streams: [OwnedFd; DESCRIPTORS],
) -> Result<Started, String> {
    let known = agent.identity.borrow();
    let identity = known.as_ref().ok_or("the sandbox has no identity yet")?;
    let caller = user(&sender.uid.to_string())?;
    let target = target(&request.user)?;
    permit(&caller, &target)?;
    if request.argv.is_empty() && !request.login && !request.shell {
        return Ok(None);
    }
    let owner = (sender.pid > 1).then(|| agent.processes.owner(sender.pid)).flatten();
    let owner = owner.ok_or("the caller belongs to no process of this sandbox")?;
    let Tree::Group(group) = &owner.tree else {
        return Err("it is not available here: this sandbox has no process groups".into());
    };
    let entrance = group.entrance().map_err(|error| format!("cannot enter its tree: {error}"))?;
    let Command { programs, argv, env, cwd, name } = command(identity, request, &caller, &target)?;
    let limits = identity.limits;
    let plan = Plan {
        programs,
        argv,
        env,
        cwd,
        credentials: target.credentials,
        stdio: [0, 1, 2].map(|index: usize| streams[index].as_raw_fd()),
        terminal: request.terminal,
        cgroup: Some(entrance.as_raw_fd()),
        processes_limit: agent.containment.refusals.command_limit(limits.processes),
        open_files_limit: limits.open_files,
        drop_capabilities: agent.drop_capabilities.clone(),
        guard: agent.memory.is_gvisor,
        announce: None,
        reset_oom_score: true,
    };
    let pid = child::start(&plan).map_err(|failure| refusal(&name, &plan, &failure))?;
    Ok(Some((pid, agent.processes.expect(pid))))
}

fn user(text: &str) -> Result<User, String> {
    users::find(text).map_err(|refusal| refusal.message)
}

fn target(name: &[u8]) -> Result<User, String> {
    let name = String::from_utf8_lossy(name);
    let name = name.strip_prefix('#').unwrap_or(&name);
    if name.contains(':') {
        return Err(format!("unknown user {name}"));
    }
    users::find(name).map_err(|_| format!("unknown user {name}"))
}

fn permit(caller: &User, target: &User) -> Result<(), String> {
    let ids = &caller.credentials;
    if ids.uid == 0 {
        return Ok(());
    }
    let database = users::database(c"/etc/group");
    let groups: Vec<String> =
        ids.groups.iter().map(|group| users::user_name(&database, *group)).collect();
    let asker = Caller { name: &caller.name, uid: ids.uid, groups: &groups };
    match rules::allow(&asker, target.credentials.uid == 0) {
        true => Ok(()),
        false => Err("a password is required, and there is no way to give one; \
                      let /etc/sudoers.d grant NOPASSWD:ALL, or start as another user by the API"
            .into()),
    }
}

/// Forwards signals until the command has ended; `None` when the caller went first.
async fn oversee(
    agent: &Agent,
    connection: &AsyncFd<OwnedFd>,
    pid: i32,
    mut ended: oneshot::Receiver<WaitResult>,
) -> Option<WaitResult> {
    let mut bytes = [0; 64];
    loop {
        let mut guard = tokio::select! {
            biased;
            result = &mut ended => return result.ok(),
            guard = connection.readable() => guard.ok()?,
        };
        match guard.try_io(|fd| descriptor::read(fd.as_raw_fd(), &mut bytes)) {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(count)) => {
                for signal in bytes[..count].iter().map(|byte| i32::from(*byte)) {
                    if FORWARDED.contains(&signal) {
                        signal_group(pid, signal);
                    }
                }
            }
            Err(_) => {}
        }
    }
    signal_group(pid, libc::SIGHUP);
    signal_group(pid, libc::SIGCONT);
    if agent.clock.timeout(HANGUP_GRACE, &mut ended).await.is_err() {
        signal_group(pid, libc::SIGKILL);
        let _ = ended.await;
    }
    None
}

/// The command leads a group of its own and is not reaped while this runs, so its pid is its own.
fn signal_group(pid: i32, signal: i32) {
    unsafe { libc::kill(-pid, signal) };
}

fn refusal(name: &str, plan: &Plan, failure: &Failure) -> String {
    let why = errno::describe(&failure.error);
    match (failure.step, failure.error.raw_os_error()) {
        (Step::Exec, Some(libc::ENOENT)) => format!("{name}: command not found"),
        (Step::Exec, _) => format!("unable to execute {name}: {why}"),
        (Step::WorkingFolder, _) => {
            format!("cannot enter {}: {why}", plan.cwd.to_string_lossy())
        }
        (step, _) => format!("cannot start {name}: step {step:?} failed: {why}"),
    }
}
