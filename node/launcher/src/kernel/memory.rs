//! One page that the shim and its spare share.

use std::io;

/// Large buffers go back to the kernel when they are freed: an idle shim must stay small.
pub fn give_back_large_buffers() {
    const LARGE_BYTES: libc::c_int = 48 * 1024;
    // SAFETY: sets two numbers of the allocator, before it is used for anything large.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, LARGE_BYTES);
    }
}

/// A zeroed page shared with forked children. Never unmapped: it lives as long as the process.
pub fn shared_page<T>() -> io::Result<&'static T> {
    const PAGE_BYTES: usize = 4096;
    assert!(size_of::<T>() <= PAGE_BYTES);
    // SAFETY: a fresh anonymous mapping of a page; callers use only types of atomics, for which zero is valid.
    unsafe {
        let page = libc::mmap(
            std::ptr::null_mut(),
            PAGE_BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        if page == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(&*page.cast::<T>())
        }
    }
}
