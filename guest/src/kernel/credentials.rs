//! Acting with another user's rights for the length of one synchronous section.

use std::io;

use super::descriptor::retry;

/// Ids that a call or a process acts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

impl Credentials {
    /// Runs `act` with the effective ids of this user and switches back. There is one thread, and
    /// `act` is no future, so nobody else can run in between. Raw calls: the C library's change
    /// every thread and cost more.
    pub fn run<T>(&self, act: impl FnOnce() -> T) -> io::Result<T> {
        if self.uid == 0 && self.gid == 0 {
            return Ok(act());
        }
        let _back = Back;
        set_groups(&self.groups)?;
        retry(|| unsafe { libc::syscall(libc::SYS_setresgid, -1, self.gid, -1) as isize })?;
        retry(|| unsafe { libc::syscall(libc::SYS_setresuid, -1, self.uid, -1) as isize })?;
        Ok(act())
    }
}

struct Back;

impl Drop for Back {
    fn drop(&mut self) {
        let uid = unsafe { libc::syscall(libc::SYS_setresuid, -1, 0, -1) };
        let gid = unsafe { libc::syscall(libc::SYS_setresgid, -1, 0, -1) };
        if uid != 0 || gid != 0 || set_groups(&[0]).is_err() {
            // Going on with the wrong ids would hand out the wrong rights.
            eprintln!("atoll-agent: cannot take back root's ids; ending");
            std::process::abort();
        }
    }
}

fn set_groups(groups: &[u32]) -> io::Result<()> {
    let (count, list) = (groups.len(), groups.as_ptr());
    retry(|| unsafe { libc::syscall(libc::SYS_setgroups, count, list) as isize }).map(drop)
}
