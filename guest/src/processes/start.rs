//! Starts a process: resolves the user, lays the descriptors, and turns a failed step into a
//! refusal that names it.

use std::cell::{Cell, RefCell};
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio::task::spawn_local;

use super::end::{self, Deadline};
use super::environment::{environment, programs};
use super::output::{Source, collect};
use super::process::{Marks, Process, WaitResult, unix_ms};
use super::request::{StartRequest, StdinKind};
use super::ring::{RING_DEFAULT_BYTES, Ring, Stream};
use super::stdin::Stdin;
use super::terminal::{self, Terminal};
use super::tree::Tree;
use crate::agent::Agent;
use crate::http::error::{Answer, Code, Refusal};
use crate::identity::users::{self, User};
use crate::kernel::child::{self, Failure, Plan, Step};
use crate::kernel::{descriptor, errno, supervisor};
use crate::limits::survey;

/// The process's side of its standard streams, and the agent's.
struct Streams {
    theirs: [OwnedFd; 3],
    sources: Vec<Source>,
    stdin: Stdin,
    terminal: Option<Rc<Terminal>>,
}

pub fn start(agent: &Rc<Agent>, id: &str, request: StartRequest) -> Answer<Rc<Process>> {
    let identity = agent.identity.borrow();
    let Some(identity) = identity.as_ref() else {
        let message =
            format!("cannot start process {id}: the sandbox has no identity yet; adopt it");
        return Err(Refusal::new(Code::NotAdopted, message));
    };
    let user = users::find(request.user.as_deref().unwrap_or(&identity.default_user))?;
    let env = environment(&identity.env, &user, &request.env);
    let cwd = working_folder(request.cwd.as_deref(), identity.workdir.as_deref(), &user);
    let limits = identity.limits;

    let cannot = |error: std::io::Error| Refusal::io("start process", id, &error);
    let streams = Streams::open(&request, &user).map_err(cannot)?;
    let tree = agent.containment.tree(limits.processes).map_err(cannot)?;
    let entrance = match &tree {
        Tree::Group(group) => Some(group.entrance().map_err(cannot)?),
        Tree::Supervised(_) => None,
    };
    let mut plan = Plan {
        programs: programs(request.argv[0].as_bytes(), env.get("PATH").map(String::as_bytes))
            .map_err(|_| Refusal::invalid("argv[0] or PATH holds NUL"))?,
        argv: strings(request.argv.iter().cloned())?,
        env: strings(env.iter().map(|(name, value)| format!("{name}={value}")))?,
        cwd: CString::new(cwd.clone()).map_err(|_| Refusal::invalid("cwd holds NUL"))?,
        credentials: user.credentials.clone(),
        stdio: [0, 1, 2].map(|index: usize| streams.theirs[index].as_raw_fd()),
        terminal: request.terminal.is_some(),
        cgroup: entrance.as_ref().map(AsRawFd::as_raw_fd),
        processes_limit: agent.containment.refusals.command_limit(limits.processes),
        open_files_limit: limits.open_files,
        drop_capabilities: agent.drop_capabilities.clone(),
        guard: agent.memory.is_gvisor,
        announce: None,
        reset_oom_score: true,
    };
    let started = agent.clock.now();
    // Before it runs: its first fork may be refused at once.
    let refusals = agent.containment.refusals.count();
    let (pid, report) = launch(&mut plan, &tree).map_err(|failure| {
        tree.remove();
        refusal(id, &request, &cwd, limits.processes, failure)
    })?;
    drop(entrance);

    let Streams { theirs, sources, stdin, terminal } = streams;
    drop(theirs);
    let process = Rc::new(Process {
        id: id.to_owned(),
        pid,
        log: RefCell::new(Ring::new(request.output_limit_bytes.unwrap_or(RING_DEFAULT_BYTES))),
        request,
        user: user.name,
        cwd,
        started_at_ms: unix_ms(),
        memory_kills: agent.memory.kills(),
        refusals,
        started,
        clock: agent.clock.clone(),
        tree,
        stdin,
        terminal,
        followers: RefCell::default(),
        changed: Notify::new(),
        room: Notify::new(),
        marks: Marks::default(),
        wait: Cell::new(None),
        waited: Notify::new(),
        exit: RefCell::new(None),
    });
    agent.processes.insert(process.clone());
    if let Some(report) = report {
        spawn_local(await_report(agent.clone(), pid, report));
    }
    oversee(agent, &process, sources);
    Ok(process)
}

/// Starts the plan, below a supervisor where there is no group; the report of its end comes from
/// there.
fn launch(plan: &mut Plan, tree: &Tree) -> Result<(i32, Option<OwnedFd>), Failure> {
    match tree {
        Tree::Group(_) => child::start(plan).map(|pid| (pid, None)),
        Tree::Supervised(supervisor) => {
            let started = supervisor::start(plan)?;
            supervisor.set(started.supervisor);
            Ok((started.pid, Some(started.report)))
        }
    }
}

/// Waits for the supervisor's word. One that was killed can tell nothing; then the orphan's own
/// end comes to the reaper, or was lost with the supervisor and counts as killed.
async fn await_report(agent: Rc<Agent>, pid: i32, report: OwnedFd) -> std::io::Result<()> {
    descriptor::set_nonblocking(report.as_raw_fd())?;
    let report = descriptor::watched(report)?;
    let mut buffer = [0; 64];
    let count = loop {
        let mut guard = report.readable().await?;
        if let Ok(count) = guard.try_io(|fd| descriptor::read(fd.as_raw_fd(), &mut buffer)) {
            break count?;
        }
    };
    let lost = WaitResult { status: libc::SIGKILL, cpu_ms: 0, peak_memory_bytes: 0 };
    match supervisor::ended(&buffer[..count]) {
        Some(result) => drop(agent.processes.settle(pid, result)),
        None if survey::member(pid).is_none() => drop(agent.processes.settle(pid, lost)),
        None => {}
    }
    Ok(())
}

fn oversee(agent: &Rc<Agent>, process: &Rc<Process>, sources: Vec<Source>) {
    let (finish, finishing) = watch::channel(false);
    let complete = Rc::new(Notify::new());
    let told = complete.clone();
    let ended = move || told.notify_one();
    spawn_local(collect(agent.clone(), process.clone(), sources, finishing, ended));
    let deadline = Deadline::after(&agent.clock, process.request.timeout_ms);
    spawn_local(end::oversee(agent.clone(), process.clone(), deadline, finish, complete));
    agent.tally.wake.notify_one();
}

impl Streams {
    fn open(request: &StartRequest, user: &User) -> std::io::Result<Self> {
        if let Some(size) = request.terminal {
            let credentials = &user.credentials;
            let (terminal, theirs) = terminal::open(size, credentials.uid, credentials.gid)?;
            let terminal = Rc::new(terminal);
            return Ok(Self {
                theirs: [theirs.try_clone()?, theirs.try_clone()?, theirs],
                sources: vec![Source::Terminal(terminal.clone())],
                stdin: Stdin::Terminal,
                terminal: Some(terminal),
            });
        }
        let (stdin_theirs, stdin) = match request.stdin {
            StdinKind::None => (descriptor::open(c"/dev/null", libc::O_RDONLY)?, Stdin::None),
            StdinKind::Pipe => {
                let (theirs, ours) = descriptor::pipe()?;
                descriptor::set_nonblocking(ours.as_raw_fd())?;
                let end = Rc::new(descriptor::watched(ours)?);
                (theirs, Stdin::Pipe(RefCell::new(Some(end))))
            }
        };
        let (stdout, stdout_theirs) = descriptor::pipe()?;
        let (stderr, stderr_theirs) = descriptor::pipe()?;
        let source = |stream, fd: OwnedFd| {
            descriptor::set_nonblocking(fd.as_raw_fd())?;
            Ok::<_, std::io::Error>(Source::Pipe(stream, descriptor::watched(fd)?))
        };
        let sources = vec![source(Stream::Stdout, stdout)?, source(Stream::Stderr, stderr)?];
        let theirs = [stdin_theirs, stdout_theirs, stderr_theirs];
        Ok(Self { theirs, sources, stdin, terminal: None })
    }
}

/// What was asked for; else the sandbox's working folder; else the user's home.
fn working_folder(asked: Option<&str>, workdir: Option<&str>, user: &User) -> String {
    match asked {
        Some(path) if path.starts_with('/') => path.to_owned(),
        Some(path) => format!("{}/{path}", user.home.trim_end_matches('/')),
        None => workdir.filter(|path| path.starts_with('/')).unwrap_or(&user.home).to_owned(),
    }
}

fn strings(list: impl Iterator<Item = String>) -> Answer<Vec<CString>> {
    list.map(|text| CString::new(text).map_err(|_| Refusal::invalid("a string holds NUL")))
        .collect()
}

fn refusal(
    id: &str,
    request: &StartRequest,
    cwd: &str,
    processes_limit: Option<u64>,
    failure: Failure,
) -> Refusal {
    let error = &failure.error;
    let number = error.raw_os_error().unwrap_or(0);
    let (code, what) = match (failure.step, number) {
        (Step::Clone, libc::EAGAIN) | (_, libc::EAGAIN) => {
            let count = survey::count();
            let limit = processes_limit.map_or("its".to_owned(), |limit| format!("the {limit}"));
            let what =
                format!("{count} processes run, which meets {limit} allowed; end some first");
            (Code::TooManyProcesses, what)
        }
        (_, libc::ENOMEM) => (Code::OutOfMemory, "there is no memory; end something first".into()),
        (Step::WorkingFolder, libc::ENOENT | libc::ENOTDIR) => {
            (Code::PathNotFound, format!("its cwd {cwd} does not exist; make it or give another"))
        }
        (Step::WorkingFolder, _) => {
            (Code::PermissionDenied, format!("its cwd {cwd} is closed to it"))
        }
        (Step::Exec, libc::ENOENT | libc::ENOTDIR) => {
            (Code::ExecFailed, format!("program {:?} was not found", request.argv[0]))
        }
        (Step::Exec, libc::EACCES) => {
            (Code::ExecFailed, format!("program {:?} may not be executed", request.argv[0]))
        }
        (Step::Exec, libc::ENOEXEC) => {
            let what = format!("{:?} is no program and has no #! line", request.argv[0]);
            (Code::ExecFailed, what)
        }
        (Step::Exec, libc::E2BIG) => {
            (Code::ExecFailed, "argv and env are too big; pass more by stdin or a file".into())
        }
        (step, _) => (Code::ExecFailed, format!("step {step:?} failed")),
    };
    let message = format!("cannot start process {id}: {what}: {}", errno::describe(error));
    let operand = match failure.step {
        Step::WorkingFolder => cwd,
        _ => &request.argv[0],
    };
    let details = json!({
        "errno": errno::name(number),
        "step": format!("{:?}", failure.step),
        "operand": operand,
    });
    Refusal::new(code, message).with(details)
}
