//! `sudo` without set-user-id bits. Neither gVisor nor a container with no_new_privs lets the
//! set-user-id program work, so the agent's own binary stands in its place and asks the agent,
//! which starts the command in the caller's process tree. See docs/decisions/0006-sudo-by-the-agent.md.

pub mod client;
mod command;
pub mod install;
mod rules;
pub mod serve;
mod wire;
