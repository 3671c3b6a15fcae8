//! How full the sandbox's disk is.

use std::mem::MaybeUninit;

const FULL_BYTES: u64 = 1 << 20;
const FULL_PER_MILLE: u64 = 5;

#[derive(Clone, Copy, Default)]
pub struct Disk {
    pub size_bytes: u64,
    pub free_bytes: u64,
}

impl Disk {
    pub fn used_bytes(self) -> u64 {
        self.size_bytes.saturating_sub(self.free_bytes)
    }
}

pub fn measure() -> Option<Disk> {
    let mut found = MaybeUninit::<libc::statfs>::uninit();
    if unsafe { libc::statfs(c"/".as_ptr(), found.as_mut_ptr()) } != 0 {
        return None;
    }
    let found = unsafe { found.assume_init() };
    let block = found.f_bsize as u64;
    let size_bytes = found.f_blocks.saturating_mul(block);
    Some(Disk { size_bytes, free_bytes: found.f_bavail.saturating_mul(block) })
}

/// Whether next to nothing can be written. A read-only image reports no room at all and is not
/// full for that reason, so it must have a size that something could use.
pub fn is_full() -> bool {
    measure().is_some_and(|disk| {
        let floor = FULL_BYTES.max(disk.size_bytes / 1_000 * FULL_PER_MILLE);
        disk.size_bytes > 2 * FULL_BYTES && disk.free_bytes < floor
    })
}
