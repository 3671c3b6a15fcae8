//! Shows programs the sandbox's own memory where the kernel's is another: a machine of gVisor that was
//! made before its sandbox has the size that it was made with, for good.

use std::cell::RefCell;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::kernel::{descriptor, mounts};

const REAL: &CStr = c"/proc/meminfo";
/// An empty folder of the image; the agent's own tmpfs lies there for a moment only.
const PLACE: &CStr = c"/.atoll/root";
const FILE: &CStr = c"/.atoll/root/meminfo";
const TMPFS_OPTIONS: &CStr = c"size=64k,mode=0700";
const FILE_MAX_BYTES: usize = 8_192;

/// The kernel's file, and what lies over it.
pub struct Meminfo {
    /// Opened before anything lay over it.
    real: OwnedFd,
    over: RefCell<Option<Over>>,
}

struct Over {
    file: OwnedFd,
    total_kib: u64,
}

impl Meminfo {
    pub fn open() -> io::Result<Self> {
        Ok(Self { real: descriptor::open(REAL, libc::O_RDONLY)?, over: RefCell::new(None) })
    }

    /// What the kernel says, whatever lies over it.
    pub fn real(&self) -> Option<String> {
        let mut bytes = vec![0; FILE_MAX_BYTES];
        // From the start again, which makes the kernel write it anew.
        let count = descriptor::read_at(self.real.as_raw_fd(), &mut bytes, 0).ok()?;
        bytes.truncate(count);
        String::from_utf8(bytes).ok()
    }

    /// Lays a file over the kernel's, or takes it off where both say the same.
    pub fn show(&self, bytes: u64) -> io::Result<()> {
        let text = self.real().ok_or(io::ErrorKind::InvalidData)?;
        let total_kib = bytes / 1_024;
        let is_same = row(&text, "MemTotal:") == Some(total_kib);
        let mut over = self.over.borrow_mut();
        match over.as_mut() {
            Some(_) if is_same => {
                mounts::detach(REAL);
                *over = None;
            }
            Some(known) => known.total_kib = total_kib,
            None if is_same => {}
            None => *over = Some(Over { file: lay()?, total_kib }),
        }
        drop(over);
        self.refresh();
        Ok(())
    }

    /// Writes the present use into the file that lies over; nothing where none does.
    pub fn refresh(&self) {
        let over = self.over.borrow();
        let Some(over) = over.as_ref() else { return };
        let Some(text) = self.real() else { return };
        let text = fitted(&text, over.total_kib);
        let fd = over.file.as_raw_fd();
        let (pointer, length) = (text.as_ptr().cast(), text.len());
        // One call, so that no reader sees half of it.
        let written = descriptor::retry(|| unsafe { libc::pwrite(fd, pointer, length, 0) })
            .and_then(|_| check(unsafe { libc::ftruncate(fd, length as libc::off_t) }));
        if let Err(error) = written {
            eprintln!("atoll-agent: /proc/meminfo is stale: {error}");
        }
    }
}

/// A file of a tmpfs that nobody else reaches, bound over the kernel's.
fn lay() -> io::Result<OwnedFd> {
    let none = std::ptr::null();
    let (kind, options) = (c"tmpfs".as_ptr(), TMPFS_OPTIONS.as_ptr().cast());
    check(unsafe { libc::mount(kind, PLACE.as_ptr(), kind, 0, options) })?;
    let file = descriptor::open_at(libc::AT_FDCWD, FILE, libc::O_RDWR | libc::O_CREAT, 0o444);
    let bound = check(unsafe {
        libc::mount(FILE.as_ptr(), REAL.as_ptr(), none, libc::MS_BIND, none.cast())
    });
    mounts::detach(PLACE);
    bound?;
    file
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The kernel's text with the sandbox's total: what is used stays, what is free shrinks or grows.
fn fitted(text: &str, total_kib: u64) -> String {
    let kib = |name| row(text, name).unwrap_or(0);
    let used = kib("MemTotal:").saturating_sub(kib("MemFree:"));
    let free = total_kib.saturating_sub(used);
    let cached = kib("MemAvailable:").saturating_sub(kib("MemFree:"));
    let available = (free + cached).min(total_kib);
    let rows = [("MemTotal:", total_kib), ("MemFree:", free), ("MemAvailable:", available)];
    let mut fitted = String::with_capacity(text.len());
    for line in text.lines() {
        let own = rows.iter().find(|(name, _)| line.starts_with(name));
        match own {
            Some((name, value)) => fitted.push_str(&format!("{name:<15} {value:>8} kB")),
            None => fitted.push_str(line),
        }
        fitted.push('\n');
    }
    fitted
}

pub fn row(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_use_stays_and_the_rest_is_free() {
        let real = "MemTotal:        1000000 kB\nMemFree:          900000 kB\n\
                    MemAvailable:     920000 kB\nBuffers:               0 kB\n";
        let own = fitted(real, 500_000);
        let kib = |name| row(&own, name);
        assert_eq!(kib("MemTotal:"), Some(500_000));
        assert_eq!(kib("MemFree:"), Some(400_000));
        assert_eq!(kib("MemAvailable:"), Some(420_000));
        assert_eq!((kib("Buffers:"), own.lines().count()), (Some(0), 4));
        assert_eq!(row(&fitted(real, 50_000), "MemFree:"), Some(0));
        assert_eq!(own.len(), real.len());
    }
}
