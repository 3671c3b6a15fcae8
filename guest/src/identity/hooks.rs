//! Runs the image's hooks after the sandbox got another identity, so that programs inside can react:
//! seed anew, register again.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_local;

use super::Reason;
use crate::agent::Agent;
use crate::kernel::child::{self, Plan};
use crate::kernel::credentials::Credentials;
use crate::kernel::{descriptor, errno, folder};
use crate::processes::environment::PATH_DEFAULT;
use crate::processes::tree::{Group, Tree};

const FOLDER: &str = "/etc/atoll/hooks/restored.d";
const HOOKS_MAX: usize = 64;
const HOOK_MAX: Duration = Duration::from_secs(10);
const OTHERS_MAY_WRITE: u32 = 0o022;

/// Runs them once per generation, beside what was continued.
pub fn run_new(agent: &Rc<Agent>) {
    let Some((generation, reason)) = current(agent) else { return };
    if agent.hooked_generation.replace(generation) != generation {
        spawn_local(run(agent.clone(), generation, reason));
    }
}

fn current(agent: &Agent) -> Option<(u64, Reason)> {
    let identity = agent.identity.borrow();
    identity.as_ref().map(|known| (known.generation, known.reason))
}

async fn run(agent: Rc<Agent>, generation: u64, reason: Reason) {
    for name in names() {
        let path = format!("{FOLDER}/{}", name.to_string_lossy());
        if let Err(why) = run_one(&agent, &path, generation, reason).await {
            eprintln!("atoll-agent: hook {path} of generation {generation}: {why}");
        }
    }
}

fn names() -> Vec<CString> {
    let Ok(path) = CString::new(FOLDER) else { return Vec::new() };
    let flags = libc::O_RDONLY | libc::O_DIRECTORY;
    let Ok(opened) = descriptor::open(&path, flags) else { return Vec::new() };
    let mut names = folder::names(opened.as_raw_fd(), HOOKS_MAX).unwrap_or_default();
    names.retain(|name| is_hook(&opened, name));
    names.sort_unstable();
    names
}

/// An executable that nobody but root can have written.
fn is_hook(folder: &OwnedFd, name: &CStr) -> bool {
    let mut found: libc::stat = unsafe { std::mem::zeroed() };
    let looked = unsafe { libc::fstatat(folder.as_raw_fd(), name.as_ptr(), &mut found, 0) };
    looked == 0
        && found.st_mode & libc::S_IFMT == libc::S_IFREG
        && found.st_mode & 0o111 != 0
        && found.st_mode & OTHERS_MAY_WRITE == 0
        && found.st_uid == 0
}

async fn run_one(agent: &Agent, path: &str, generation: u64, reason: Reason) -> Result<(), String> {
    // A pause that begins between two hooks waits for none of them.
    agent.quiesce.released().await;
    let started = start(agent, path, generation, reason);
    let (pid, group) = started.map_err(|error| errno::describe(&error))?;
    let ended = agent.processes.expect(pid);
    let status = match agent.clock.timeout(HOOK_MAX, ended).await {
        Ok(Ok(result)) => result.status,
        Ok(Err(_)) => return Err("its end was lost".to_owned()),
        Err(_) => {
            match &group {
                Some(tree) => drop(tree.kill().await),
                None => drop(unsafe { libc::kill(pid, libc::SIGKILL) }),
            }
            return Err(format!("killed after {} s", HOOK_MAX.as_secs()));
        }
    };
    if let Some(tree) = &group {
        tree.kill().await;
        tree.remove();
    }
    match status {
        0 => Ok(()),
        status if libc::WIFEXITED(status) => {
            Err(format!("exit code {}", libc::WEXITSTATUS(status)))
        }
        status => Err(format!("ended by signal {}", libc::WTERMSIG(status))),
    }
}

fn start(
    agent: &Agent,
    path: &str,
    generation: u64,
    reason: Reason,
) -> io::Result<(i32, Option<Tree>)> {
    let null = descriptor::open(c"/dev/null", libc::O_RDWR)?;
    let limits = agent.limits();
    let group = agent.containment.group(limits.processes)?;
    let entrance = group.as_ref().map(Group::entrance).transpose()?;
    let env = [
        format!("PATH={PATH_DEFAULT}"),
        "HOME=/root".to_owned(),
        "USER=root".to_owned(),
        format!("ATOLL_GENERATION={generation}"),
        format!("ATOLL_REASON={}", reason.name()),
    ];
    let plan = Plan {
        programs: vec![CString::new(path)?],
        argv: vec![CString::new(path)?],
        env: env.into_iter().map(CString::new).collect::<Result<_, _>>()?,
        cwd: c"/".to_owned(),
        credentials: Credentials { uid: 0, gid: 0, groups: vec![0] },
        stdio: [null.as_raw_fd(); 3],
        terminal: false,
        cgroup: entrance.as_ref().map(AsRawFd::as_raw_fd),
        processes_limit: agent.containment.refusals.command_limit(limits.processes),
        open_files_limit: limits.open_files,
        drop_capabilities: agent.drop_capabilities.clone(),
        guard: agent.memory.is_gvisor,
        announce: None,
        reset_oom_score: true,
    };
    let started = child::start(&plan);
    match started {
        Ok(pid) => Ok((pid, group.map(Tree::Group))),
        Err(failure) => {
            if let Some(group) = group {
                group.remove();
            }
            Err(failure.error)
        }
    }
}
