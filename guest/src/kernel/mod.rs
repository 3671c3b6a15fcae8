//! The system calls that the agent makes itself, each with its error.

pub mod child;
pub mod credentials;
pub mod descriptor;
pub mod errno;
pub mod folder;
pub mod guard;
pub mod mounts;
pub mod signals;
pub mod socket;
pub mod supervisor;
