//! The guest agent of Atoll: the one program of ours inside a sandbox. PID 1, one thread.

mod agent;
mod clock;
mod files;
mod http;
mod identity;
mod kernel;
mod layer;
mod limits;
mod link;
mod ports;
mod processes;
mod quiesce;
mod root;
mod sudo;

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;

use crate::agent::{Agent, GENERATION};
use crate::kernel::{descriptor, signals};
use crate::limits::memory::Memory;
use crate::processes::containment::Containment;
use crate::quiesce::{Origin, Quiesce};

const NO_ROOT_SETUP_FLAG: &str = "--no-root-setup";
/// Allocations above this go back to the kernel when freed. Pieces of a transfer lie below it: mapped
/// anew for each, their page faults cost more in gVisor than everything else about a transfer.
const MMAP_THRESHOLD_BYTES: i32 = 1 << 20;
/// What the heap may keep for the next piece.
const TRIM_THRESHOLD_BYTES: i32 = 1 << 20;

fn main() {
    if std::env::args_os().next().is_some_and(|name| sudo::client::is_called(&name)) {
        sudo::client::main();
    }
    let mut root_setup = true;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            NO_ROOT_SETUP_FLAG => root_setup = false,
            "--version" => return println!("atoll-agent {}", env!("CARGO_PKG_VERSION")),
            // What the template may give as a reminder of the channel in use.
            "stdio" => {}
            other => {
                eprintln!("atoll-agent: unknown argument {other:?}; known is {NO_ROOT_SETUP_FLAG}");
                std::process::exit(2);
            }
        }
    }
    if let Err(error) = run(root_setup) {
        eprintln!("atoll-agent: cannot go on: {error}");
        std::process::exit(1);
    }
}

fn run(root_setup: bool) -> io::Result<()> {
    protect();
    signals::ignore_interruptions();
    let (input, output) = link_ends()?;
    let origin = Origin::of(&input, &output);
    let containment = Containment::find();
    let memory = Memory::find();
    let mut upper = None;
    if root_setup {
        upper = root::set_up()?;
        // The first change below a folder copies it up, which would be a claim's time.
        if upper.is_some() {
            identity::prepare();
        }
        if let Err(error) = sudo::install::install() {
            eprintln!("atoll-agent: sudo will not work: cannot take its place: {error}");
        }
    }
    let calls_of_sudo = sudo::serve::listen();
    eprintln!("atoll-agent: processes are held by {}", containment.kind());
    let agent = Rc::new(Agent::new(containment, memory, Quiesce::new(origin), upper));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let reaper = tokio::task::spawn_local(processes::reap::reap(agent.clone()));
        tokio::task::spawn_local(limits::watchdog::watch(agent.clone()));
        match calls_of_sudo {
            Ok(listener) => {
                drop(tokio::task::spawn_local(sudo::serve::serve(agent.clone(), listener)));
            }
            Err(error) => eprintln!("atoll-agent: sudo will not work: cannot listen: {error}"),
        }
        let serve = |session| http::serve::serve(agent.clone(), session);
        if let Err(error) = link::pump(input, output, GENERATION, serve).await {
            eprintln!("atoll-agent: the link failed: {error}");
        }
        // The host has closed the link. User processes go on and still need somebody who reaps.
        reaper.await.map_err(io::Error::other)?
    })
}

/// Nobody inside may read or stop the agent, and it is the last to be killed for memory.
fn protect() {
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES);
        libc::umask(0o022);
    }
    let lowered = descriptor::open(c"/proc/self/oom_score_adj", libc::O_WRONLY)
        .and_then(|file| descriptor::write_all(file.as_raw_fd(), b"-1000"));
    if let Err(error) = lowered {
        eprintln!("atoll-agent: cannot lower its oom score: {error}");
    }
}

/// Moves the link away from 0 and 1, so that nothing prints into it.
fn link_ends() -> io::Result<(OwnedFd, OwnedFd)> {
    let take = |fd: i32, flags: i32, replacement: i32| {
        let moved =
            descriptor::retry(|| unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) as isize })?;
        let moved = unsafe { OwnedFd::from_raw_fd(moved as i32) };
        descriptor::set_nonblocking(moved.as_raw_fd())?;
        match descriptor::open(c"/dev/null", flags) {
            Ok(null) => drop(descriptor::retry(|| unsafe {
                libc::dup2(null.as_raw_fd(), replacement) as isize
            })?),
            Err(error) => eprintln!("atoll-agent: no /dev/null: {error}"),
        }
        Ok::<_, io::Error>(moved)
    };
    Ok((take(0, libc::O_RDONLY, 0)?, take(1, libc::O_WRONLY, 1)?))
}
