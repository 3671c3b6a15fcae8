//! The egress proxy: holds the sockets that it is given, and lets out what a sandbox's policy allows.
//! Identity is the source address of a connection. Whatever is unclear is denied.
pub mod cidr;
pub mod control;
pub mod dns;
pub mod events;
pub mod floor;
pub mod http;
pub mod limits;
pub mod name;
pub mod policy;
pub mod proxy;
pub mod sandboxes;
pub mod secrets;
pub mod start;
pub mod tcp;
pub mod tls;
