//! The node's side: docs/reference/egress-protocol.md.
pub mod apply;
pub mod command;
pub mod descriptors;
pub mod explain;
pub mod serve;
