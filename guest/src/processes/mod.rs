//! Processes: started by argv, followed by log, ended with their whole tree.

pub mod calls;
pub mod containment;
mod end;
pub mod environment;
mod follow;
mod output;
pub mod process;
pub mod reap;
mod request;

pub use request::check_env;
mod ring;
mod start;
mod stdin;
pub mod table;
mod terminal;
pub mod tree;
