//! Counters of the agent's life.

use std::cell::Cell;

use tokio::sync::Notify;

#[derive(Default)]
pub struct Tally {
    pub oom_kills: Cell<u64>,
    /// Told when a process starts, so that the watchdog looks.
    pub wake: Notify,
}
