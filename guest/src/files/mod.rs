//! Files, always with the ids and rights of the user that a call names.

mod entry;
pub mod list;
pub mod make;
pub mod path;
pub mod read;
pub mod remove;
pub mod rename;
pub mod stat;
pub mod write;
