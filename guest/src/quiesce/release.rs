//! Continues what was stopped, children before their parents: a shell that runs again sees no child
//! that stands.

use std::collections::HashMap;

use super::Stopped;
use crate::limits::survey::{self, Member};

/// Deeper chains of parents than any limit of processes allows are a cycle under the look.
const DEPTH_MAX: usize = 65_536;

/// Gives how many were continued; who has ended meanwhile is none of them.
pub fn release(stopped: &[Stopped]) -> usize {
    let members = survey::members();
    let parents: HashMap<i32, i32> =
        members.iter().map(|member| (member.pid, member.parent)).collect();
    let mut depths = HashMap::new();
    let mut alive: Vec<(usize, i32)> = members
        .iter()
        .filter(|member| stopped.contains(&Stopped::from(*member)))
        .map(|member: &Member| (depth(member.pid, &parents, &mut depths), member.pid))
        .collect();
    alive.sort_unstable_by(|one, other| other.cmp(one));
    alive.iter().filter(|(_, pid)| unsafe { libc::kill(*pid, libc::SIGCONT) == 0 }).count()
}

fn depth(pid: i32, parents: &HashMap<i32, i32>, known: &mut HashMap<i32, usize>) -> usize {
    let mut path = Vec::new();
    let mut at = pid;
    let mut depth = loop {
        if let Some(depth) = known.get(&at) {
            break *depth;
        }
        match parents.get(&at) {
            Some(parent) if path.len() < DEPTH_MAX => {
                path.push(at);
                at = *parent;
            }
            _ => break 0,
        }
    };
    for pid in path.into_iter().rev() {
        depth += 1;
        known.insert(pid, depth);
    }
    depth
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_parents() {
        let parents = HashMap::from([(1, 0), (5, 1), (7, 5), (9, 7), (6, 1)]);
        let mut known = HashMap::new();
        let depths = [9, 6, 5, 1, 7].map(|pid| depth(pid, &parents, &mut known));
        assert_eq!(depths, [4, 2, 2, 1, 3]);
    }
}
