//! Tells which processes ran into the limit of their number.

use std::rc::Rc;

use crate::agent::Agent;
use crate::processes::process::Process;

/// The limit is the kernel's and counts per user: others of that user may hold the last few.
const MARGIN: u64 = 4;
/// A tree that holds less than one in this many is a bystander.
const SHARE: u64 = 10;
/// From one in this many of the limit on, the count is looked at often.
const NEAR_PART: u64 = 8;

/// Marks the trees that are big when all together are at the limit, and gives how many processes
/// there are. `ending` is one that the kernel has reported and that has survivors.
///
/// RLIMIT_NPROC and gVisor's pids controller count no refusals, so that the agent has to see the
/// full number; a program that forks and frees within one look is not seen. Where refusals are
/// counted, the count alone marks (`mark_refused`).
pub fn mark(agent: &Agent, ending: Option<&Rc<Process>>) -> u64 {
    let mut processes = agent.processes.running();
    processes.extend(ending.cloned());
    let counts: Vec<u64> = processes.iter().map(|process| process.tree.count()).collect();
    let total = counts.iter().sum::<u64>();
    if agent.containment.refusals.are_counted() {
        return total;
    }
    let Some(limit) = agent.limits().processes else { return total };
    if total + MARGIN >= limit {
        for (process, count) in processes.iter().zip(counts) {
            if count >= limit / SHARE {
                process.marks.limit_processes.set(true);
            }
        }
    }
    total
}

/// Whether so many processes are worth a close look.
pub fn is_near(agent: &Agent, total: u64) -> bool {
    !agent.containment.refusals.are_counted()
        && agent.limits().processes.is_some_and(|limit| total > limit / NEAR_PART)
}

/// Marks a process that has ended when the kernel refused a fork while it lived. The count is the
/// sandbox's: whoever lived then held a part of what was full.
pub fn mark_refused(agent: &Agent, process: &Process) {
    let since = agent.containment.refusals.count().zip(process.refusals);
    if process.tree.was_refused() || since.is_some_and(|(now, before)| now > before) {
        process.marks.limit_processes.set(true);
    }
}
