//! From a start as root to an unprivileged process.
pub mod options;
pub mod privileges;
pub mod seccomp;
