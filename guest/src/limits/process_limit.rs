//! Tells which processes ran into the limit of their number.

use std::rc::Rc;

use crate::agent::Agent;
use crate::processes::process::Process;

/// The limit is the kernel's and counts per user: others of that user may hold the last few.
const MARGIN: u64 = 4;
/// A tree that holds less than one in this many is a bystander.
const SHARE: u64 = 10;

/// Marks the trees that are big when all together are at the limit. `ending` is one that the
/// kernel has reported and that may have survivors.
pub fn mark(agent: &Agent, ending: Option<&Rc<Process>>) {
    let mut processes = agent.processes.running();
    processes.extend(ending.cloned());
    for process in &processes {
        if process.tree.was_refused() {
            process.marks.limit_processes.set(true);
        }
    }
    let Some(limit) = agent.limits().processes else { return };
    let counts: Vec<u64> = processes.iter().map(|process| process.tree.count()).collect();
    if counts.iter().sum::<u64>() + MARGIN < limit {
        return;
    }
    for (process, count) in processes.iter().zip(counts) {
        if count >= limit / SHARE {
            process.marks.limit_processes.set(true);
        }
    }
}
