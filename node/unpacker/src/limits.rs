//! Every limit of the unpacker, by name and unit (invariant 9).

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The decompressed archive, headers and padding included: what a bomb inflates to.
    pub archive_bytes: u64,
    /// All regular files together.
    pub content_bytes: u64,
    /// One regular file.
    pub file_bytes: u64,
    /// Headers that make something: files, directories, links, whiteouts.
    pub entries: u64,
    /// CPU time of the helper.
    pub cpu_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            archive_bytes: 34 * GIB,
            content_bytes: 32 * GIB,
            file_bytes: 16 * GIB,
            entries: 2_000_000,
            cpu_seconds: 1_800,
        }
    }
}

const GIB: u64 = 1024 * 1024 * 1024;

/// A name or a link target, in bytes; one more and the kernel refuses it.
pub const NAME_BYTES: usize = 4_095;
/// A GNU long name or a pax header, in bytes.
pub const EXTENSION_BYTES: u64 = 1024 * 1024;
/// One extended attribute's value, in bytes (the kernel's own limit).
pub const ATTRIBUTE_BYTES: usize = 65_536;
/// Ids that the jail maps: 0 to 65,535.
pub const ID_COUNT: u32 = 65_536;
/// Names in the report's lists; further ones are only counted.
pub const REPORTED_NAMES: usize = 32;
/// Window of a zstd frame, as a power of two: 128 MiB.
pub const ZSTD_WINDOW_LOG: u32 = 27;
/// Address space of the helper while it unpacks, in bytes.
pub const UNPACK_ADDRESS_SPACE_BYTES: u64 = GIB;
/// Address space of mkfs.erofs, which holds every inode in memory.
pub const PACK_ADDRESS_SPACE_BYTES: u64 = 8 * GIB;
/// Open files of the helper.
pub const OPEN_FILES: u64 = 256;
