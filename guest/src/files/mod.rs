//! Files, always with the ids and rights of the user that a call names.

mod announced;
pub mod archive;
mod entry;
pub mod list;
pub mod make;
pub mod pack;
pub mod path;
pub mod read;
pub mod remove;
pub mod rename;
pub mod stat;
pub mod unpack;
pub mod watch;
pub mod write;
mod written;
