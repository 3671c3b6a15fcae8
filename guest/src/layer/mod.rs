//! The disk as what differs from the template: a tar of the overlay's upper folder, with OCI whiteouts.
//! For the host alone.

pub mod apply;
mod attributes;
mod header;
pub mod pack;
mod write;

/// Before the name of something that the template has and the sandbox has not.
pub const WHITEOUT: &[u8] = b".wh.";
/// In a folder that shows nothing of the template's folder of the same name.
pub const OPAQUE: &[u8] = b".wh..wh..opq";
/// A pax record of an entry whose own name begins like a whiteout's.
pub const LITERAL: &[u8] = b"ATOLL.literal";
/// A pax record: seconds and nanoseconds, which an archive's own time leaves out.
pub const MODIFIED: &[u8] = b"ATOLL.modified";
/// Before the name of an extended attribute.
pub const ATTRIBUTE: &[u8] = b"SCHILY.xattr.";

/// What says who a sandbox is, and is written anew by its adoption (invariant 12).
const IDENTITY: [&[u8]; 3] = [b"etc/hostname", b"etc/machine-id", b"run/atoll"];
/// The agent's own place.
const OWN: &[u8] = b".atoll";

/// Whether a path below the root belongs to one sandbox and no other.
pub fn is_left_out(path: &[u8]) -> bool {
    path == OWN || IDENTITY.contains(&path)
}

#[cfg(test)]
mod tests;
