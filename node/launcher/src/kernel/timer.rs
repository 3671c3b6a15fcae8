//! Clocks, a timer that follows the wall clock, and event counters.

use super::check;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{SystemTime, UNIX_EPOCH};

pub fn unix_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}

/// Milliseconds of the monotonic clock.
pub fn monotonic_ms() -> u64 {
    // SAFETY: the struct is filled by the call.
    let time = unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time);
        time
    };
    time.tv_sec.cast_unsigned() * 1000 + time.tv_nsec.cast_unsigned() / 1_000_000
}

/// A descriptor that becomes readable at wall-clock times, also when the clock is set.
pub fn wall_timer() -> io::Result<OwnedFd> {
    // SAFETY: a new descriptor that nobody else owns.
    unsafe {
        Ok(OwnedFd::from_raw_fd(check(libc::timerfd_create(
            libc::CLOCK_REALTIME,
            libc::TFD_CLOEXEC | libc::TFD_NONBLOCK,
        ))?))
    }
}

/// Arms for a unix time, or disarms. It also fires when someone sets the clock: re-check, then arm again.
pub fn arm(timer: BorrowedFd, unix_ms: Option<i64>) -> io::Result<()> {
    let at = unix_ms.map_or(0, |ms| ms.max(1));
    // SAFETY: the struct lives through the call; all zeroes disarms.
    unsafe {
        let mut spec: libc::itimerspec = std::mem::zeroed();
        spec.it_value.tv_sec = at / 1000;
        spec.it_value.tv_nsec = (at % 1000) * 1_000_000;
        let flags = libc::TFD_TIMER_ABSTIME | libc::TFD_TIMER_CANCEL_ON_SET;
        check(libc::timerfd_settime(
            timer.as_raw_fd(),
            flags,
            &raw const spec,
            std::ptr::null_mut(),
        ))
        .map(drop)
    }
}

/// Empties a timer or an event counter.
pub fn drain(fd: BorrowedFd) {
    let mut buffer = [0u8; 8];
    // A timer that the clock's setting cancelled answers ECANCELED: that empties it, too.
    let _ = super::socket::read(fd, &mut buffer);
}

pub fn event_counter() -> io::Result<OwnedFd> {
    // SAFETY: a new descriptor that nobody else owns.
    unsafe {
        Ok(OwnedFd::from_raw_fd(check(libc::eventfd(
            0,
            libc::EFD_CLOEXEC | libc::EFD_NONBLOCK,
        ))?))
    }
}

/// Watches one file for modification.
pub fn watch_file(path: &std::path::Path) -> io::Result<OwnedFd> {
    let name = super::c_path(path)?;
    // SAFETY: a new descriptor that nobody else owns; the name lives through the call.
    unsafe {
        let watch = OwnedFd::from_raw_fd(check(libc::inotify_init1(
            libc::IN_CLOEXEC | libc::IN_NONBLOCK,
        ))?);
        check(libc::inotify_add_watch(
            watch.as_raw_fd(),
            name.as_ptr(),
            libc::IN_MODIFY,
        ))?;
        Ok(watch)
    }
}

pub fn sleep_ms(ms: u64) {
    std::thread::sleep(std::time::Duration::from_millis(ms));
}

pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0u8; N];
    // SAFETY: the array bounds the kernel's write.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, 0) };
    if usize::try_from(got) == Ok(N) {
        Ok(bytes)
    } else {
        Err(io::Error::last_os_error())
    }
}
