//! The parts of `atoll-unpack`. Everything in here treats the archive as hostile (invariant 8).
pub mod archive;
pub mod attributes;
pub mod decode;
pub mod failure;
pub mod jail;
mod kernel;
pub mod limits;
pub mod pack;
pub mod pax;
pub mod report;
pub mod seal;
pub mod seccomp;
pub mod select;
pub mod tree;
pub mod unpack;
pub mod whiteout;
