//! Loop devices that detach by themselves when their mount goes.

use super::check;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4C82;
const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
const LOOP_MAJOR: u32 = 7;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// struct loop_config of linux/loop.h.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    before_flags: [u64; 5],
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    names: [u8; 64 + 64 + 32],
    init: [u64; 2],
    reserved: [u64; 8],
}

/// Attaches a file; keep the device's File until it is mounted, then let go.
pub fn attach(image: &Path, read_only: bool) -> io::Result<(PathBuf, File)> {
    const ATTEMPTS: usize = 64;
    let backing = OpenOptions::new()
        .read(true)
        .write(!read_only)
        .open(image)?;
    let control = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/loop-control")?;
    let mut last = io::Error::from_raw_os_error(libc::EBUSY);
    for _ in 0..ATTEMPTS {
        // SAFETY: no memory is passed.
        let index = check(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE as _) })?;
        let path = PathBuf::from(format!("/dev/loop{index}"));
        make_node(&path, index.cast_unsigned())?;
        let device = OpenOptions::new()
            .read(true)
            .write(!read_only)
            .open(&path)?;
        // SAFETY: all zeroes is a valid loop_config.
        let mut config: LoopConfig = unsafe { std::mem::zeroed() };
        config.fd = backing.as_raw_fd().cast_unsigned();
        config.flags = LO_FLAGS_AUTOCLEAR | if read_only { LO_FLAGS_READ_ONLY } else { 0 };
        // SAFETY: the struct has the size and layout that the request wants.
        match check(unsafe {
            libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE as _, &raw const config)
        }) {
            Ok(_) => return Ok((path, device)),
            // Someone else took it between the two calls.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

fn make_node(path: &Path, index: u32) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let name: CString = super::c_path(path)?;
    // SAFETY: the name lives through the call.
    let made = check(unsafe {
        libc::mknod(
            name.as_ptr(),
            libc::S_IFBLK | 0o600,
            libc::makedev(LOOP_MAJOR, index),
        )
    });
    match made {
        Err(error) if error.raw_os_error() != Some(libc::EEXIST) => Err(error),
        _ => Ok(()),
    }
}

/// Loop devices whose backing file lies in the folder.
pub fn backed_by(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir("/sys/block") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("loop"))
        .filter_map(|entry| fs::read_to_string(entry.path().join("loop/backing_file")).ok())
        .map(|line| PathBuf::from(line.trim_end()))
        .filter(|file| file.starts_with(folder))
        .collect()
}
