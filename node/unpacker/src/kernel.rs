//! Single system calls of the jail, each with a failure that names the act.
use crate::failure::{Failure, Outcome};
use crate::tree::{check, owned};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;

pub(crate) fn mount(
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: libc::c_ulong,
    data: Option<&CStr>,
) -> Outcome<()> {
    let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: all strings live over the call.
    let result = unsafe {
        libc::mount(
            pointer(source),
            target.as_ptr(),
            pointer(kind),
            flags,
            pointer(data).cast(),
        )
    };
    check(result).map_err(|error| internal(&format!("mount {}", target.to_string_lossy()), &error))
}

pub(crate) fn remount(target: &CStr, flags: libc::c_ulong) -> Outcome<()> {
    mount(None, target, None, libc::MS_REMOUNT | libc::MS_BIND | flags, None)
}

pub(crate) fn limit(resource: libc::__rlimit_resource_t, value: u64) -> Outcome<()> {
    let limit = libc::rlimit {
        rlim_cur: value,
        rlim_max: value,
    };
    // SAFETY: the limit lives over the call.
    step("set a resource limit", unsafe {
        libc::setrlimit(resource, &raw const limit)
    })
}

pub(crate) fn die_with_parent() {
    // SAFETY: no memory is passed.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
}

pub(crate) fn pipe() -> Outcome<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: the array has room for both descriptors.
    step("make a pipe", unsafe {
        libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC)
    })?;
    let end = |fd| owned(fd).map_err(|error| internal("hold a pipe", &error));
    Ok((end(ends[0])?, end(ends[1])?))
}

pub(crate) fn step(act: &str, result: i32) -> Outcome<()> {
    check(result).map_err(|error| internal(act, &error))
}

pub(crate) fn internal(act: &str, error: &io::Error) -> Failure {
    Failure::internal(format!("cannot {act}: {error}"))
}

pub(crate) fn text(path: &str) -> Outcome<CString> {
    CString::new(path).map_err(|_| Failure::internal("a path holds a NUL byte"))
}
