//! What keeps the sandbox answering: capabilities, memory, disk and counts.

pub mod capabilities;
pub mod cpus;
pub mod disk;
mod meminfo;
pub mod memory;
pub mod metrics;
pub mod process_limit;
pub mod refusals;
mod shown_cgroup;
pub mod survey;
pub mod tally;
pub mod watchdog;
