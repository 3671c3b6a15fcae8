//! Stops every user process, fork bombs included.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Stopped;
use crate::agent::Agent;
use crate::http::error::{Answer, Code, Refusal};
use crate::limits::survey::{self, Member};

/// Past it everything is continued and the call refused: what dodges this long will dodge on.
const STOP_MAX: Duration = Duration::from_secs(5);
/// From here on forks are refused: in gVisor a bomb makes processes faster than they are stopped, and a
/// starved agent sees ever fewer of them. Others never get this far.
const FORKS_HELD_AFTER: Duration = Duration::from_millis(300);
const LOOK_WAIT_MIN: Duration = Duration::from_micros(500);
const LOOK_WAIT_MAX: Duration = Duration::from_millis(20);
/// What runs can fork while it is looked for: two looks must find the same processes, none running.
const CLEAN_LOOKS: u32 = 2;

/// Gives the processes that this stopped; who stood already is not among them.
pub async fn stop_all(agent: &Agent) -> Answer<Vec<Stopped>> {
    let mut holding = Holding { agent, holds: false };
    let mut before: HashSet<i32> =
        users(agent).iter().filter(|member| was_stopped(member)).map(|member| member.pid).collect();
    let begin = Instant::now();
    let mut wait = LOOK_WAIT_MIN;
    let mut clean_looks = 0;
    let mut seen = Vec::new();
    loop {
        if clean_looks == 0 {
            signal(agent, &before);
        }
        match look(agent, &mut before) {
            Some(found) if clean_looks == 0 || found == seen => {
                clean_looks += 1;
                seen = found;
            }
            _ => clean_looks = 0,
        }
        if clean_looks == CLEAN_LOOKS {
            seen.retain(|stopped| !before.contains(&stopped.pid));
            return Ok(seen);
        }
        if clean_looks == 0 {
            let taken = begin.elapsed();
            if taken >= STOP_MAX {
                return Err(give_up(agent, &before));
            }
            if taken >= FORKS_HELD_AFTER {
                holding.begin();
            }
            sleep(wait).await;
            wait = (wait * 2).min(LOOK_WAIT_MAX);
        }
    }
}

/// Forks are allowed again when it goes, however that comes.
struct Holding<'a> {
    agent: &'a Agent,
    holds: bool,
}

impl Holding<'_> {
    /// At each round: new processes have new groups.
    fn begin(&mut self) {
        self.holds = true;
        self.agent.processes.limit_forks(Some(0));
    }
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        if self.holds {
            self.agent.processes.limit_forks(self.agent.limits().processes);
        }
    }
}

/// Every process but the agent and its supervisors, which run no code of a user.
fn users(agent: &Agent) -> Vec<Member> {
    look_at_all(agent).0
}

/// The same, and whether everything that was listed could be looked at.
///
/// As the first process the agent answers for all; started otherwise, as by a test, for its own only.
fn look_at_all(agent: &Agent) -> (Vec<Member>, bool) {
    let own = std::process::id() as i32;
    let pids = survey::pids();
    let mut members: Vec<Member> = pids.iter().filter_map(|pid| survey::member(*pid)).collect();
    let mut whole = members.len() == pids.len();
    if own != 1 {
        let below = survey::below(own, &members);
        members.retain(|member| below.contains(&member.pid));
        whole = true;
    }
    let supervisors = agent.processes.supervisors();
    members.retain(|member| member.pid != own && !supervisors.contains(&member.pid));
    (members, whole)
}

/// Sends before it looks: a look is slower than a fork.
fn signal(agent: &Agent, before: &HashSet<i32>) {
    let own = std::process::id() as i32;
    let supervisors = agent.processes.supervisors();
    let pids = match own {
        1 => survey::pids(),
        own => survey::descendants(own),
    };
    for pid in pids {
        if pid != own && !before.contains(&pid) && !supervisors.contains(&pid) {
            unsafe { libc::kill(pid, libc::SIGSTOP) };
        }
    }
}

/// All there are, or `None` when one of them runs or ended under the look. One that stood before and
/// runs now was continued by another that ran still: it is stopped like those.
fn look(agent: &Agent, before: &mut HashSet<i32>) -> Option<Vec<Stopped>> {
    let (members, mut still) = look_at_all(agent);
    let mut found = Vec::new();
    for member in &members {
        if is_still(member) {
            found.push(Stopped::from(member));
        } else if !is_gone(member) {
            before.remove(&member.pid);
            still = false;
        }
    }
    still.then_some(found)
}

/// Stopped by a user, whom a continue must not surprise; what only waits in the kernel is not.
fn was_stopped(member: &Member) -> bool {
    let by_signal = |state: u8| matches!(state, b'T' | b't');
    match member.threads {
        0 | 1 => by_signal(member.state),
        _ => survey::thread_states(member.pid).into_iter().all(by_signal),
    }
}

/// Of several threads each must stand: the first may have ended or be the only one that heard.
fn is_still(member: &Member) -> bool {
    match member.threads {
        0 | 1 => stands(member.state),
        _ => survey::thread_states(member.pid).iter().all(|state| stands(*state) || ended(*state)),
    }
}

fn is_gone(member: &Member) -> bool {
    ended(member.state) && member.threads <= 1
}

/// `D`: deep in the kernel, with the stop pending, which comes before any code of the user.
fn stands(state: u8) -> bool {
    matches!(state, b'T' | b't' | b'D')
}

fn ended(state: u8) -> bool {
    matches!(state, b'Z' | b'X')
}

fn give_up(agent: &Agent, before: &HashSet<i32>) -> Refusal {
    let members = users(agent);
    let stopped: Vec<Stopped> = members
        .iter()
        .filter(|member| !before.contains(&member.pid) && !is_gone(member))
        .map(Stopped::from)
        .collect();
    super::release::release(&stopped);
    let message = format!(
        "cannot quiesce the sandbox: of {} processes some ran on for {} ms; end those that fork without \
         end, or ask again",
        members.len(),
        STOP_MAX.as_millis(),
    );
    Refusal::new(Code::Overloaded, message)
}
