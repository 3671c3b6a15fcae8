//! Ends the biggest process before the sandbox's memory is gone, so that users meet a named
//! limit and keep the sandbox.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::process_limit;
use super::survey::{self, Member, PAGE_BYTES};
use crate::agent::Agent;

const KILL_PER_CENT: u64 = 88;
/// After a start and while the processes are many; short commands end before it and cost no look.
const LOOK_FIRST: Duration = Duration::from_millis(15);
const LOOK_MIN: Duration = Duration::from_millis(50);
const LOOK_MAX: Duration = Duration::from_millis(500);
/// After a kill its memory takes a moment to come back; a second victim would be one too many, unless
/// the use rises again.
const SETTLE: Duration = Duration::from_secs(1);
/// A rise by this part of the limit is no noise.
const RISE_PART: u64 = 32;

/// Runs for ever; sleeps while no process runs.
pub async fn watch(agent: Rc<Agent>) {
    let mut seen = Seen { total: 0, pause: LOOK_FIRST, kill: None };
    let mut next = Instant::now();
    loop {
        if !agent.processes.has_running() {
            agent.tally.wake.notified().await;
            next = Instant::now() + LOOK_FIRST;
        }
        tokio::select! {
            () = sleep_until(next) => {}
            () = agent.tally.wake.notified() => {
                next = next.min(Instant::now() + LOOK_FIRST);
                continue;
            }
        }
        agent.processes.sweep();
        // A clock of running that somebody looks at while anything runs takes no run for a pause.
        agent.clock.now();
        agent.memory.refresh();
        let pause = look(&agent, &mut seen);
        next = Instant::now() + pause;
    }
}

/// What the last look found.
struct Seen {
    total: u64,
    pause: Duration,
    kill: Option<Kill>,
}

struct Kill {
    at: Instant,
    /// Least use since.
    low: u64,
}

/// One look; gives how long until the next.
fn look(agent: &Agent, seen: &mut Seen) -> Duration {
    let total = process_limit::mark(agent, None);
    let busy = total != seen.total || process_limit::is_near(agent, total);
    let pause = if busy { LOOK_FIRST } else { (seen.pause * 2).min(LOOK_MAX) };
    (seen.total, seen.pause) = (total, pause);
    match agent.limits().memory_bytes {
        Some(limit) => look_at_memory(agent, limit, &mut seen.kill).min(pause),
        None => pause,
    }
}

fn look_at_memory(agent: &Agent, limit: u64, last: &mut Option<Kill>) -> Duration {
    let used = match agent.memory.quick_used_bytes() {
        Some(used) => used,
        None => agent.memory.used_bytes(&survey::members()),
    };
    let threshold = limit / 100 * KILL_PER_CENT;
    if used < threshold {
        *last = None;
        // Full memory is looked at often, an empty one seldom.
        let free_per_cent = (threshold - used) * 100 / threshold.max(1);
        return LOOK_MAX.mul_f64(free_per_cent as f64 / 100.0).max(LOOK_MIN);
    }
    if let Some(kill) = last.as_mut().filter(|kill| kill.at.elapsed() < SETTLE) {
        kill.low = kill.low.min(used);
        if used <= kill.low + limit / RISE_PART {
            return LOOK_FIRST;
        }
    }
    if let Some(victim) = biggest(&survey::members()) {
        end(agent, victim, used, limit);
        *last = Some(Kill { at: Instant::now(), low: used });
    }
    LOOK_MIN
}

fn biggest(members: &[Member]) -> Option<Member> {
    let own = std::process::id() as i32;
    let others = members.iter().filter(|member| member.pid != own && !member.zombie);
    others.max_by_key(|member| member.resident_pages).copied()
}

fn end(agent: &Agent, victim: Member, used: u64, limit: u64) {
    let owner = agent.processes.owner(victim.pid);
    if let Some(process) = &owner {
        process.marks.oom.set(true);
    }
    if unsafe { libc::kill(victim.pid, libc::SIGKILL) } != 0 {
        return;
    }
    agent.tally.oom_kills.set(agent.tally.oom_kills.get() + 1);
    eprintln!(
        "atoll-agent: memory {used} of {limit} bytes: ended pid {} with {} bytes, of process {}",
        victim.pid,
        victim.resident_pages * PAGE_BYTES,
        owner.map_or("none".to_owned(), |process| process.id.clone()),
    );
}
