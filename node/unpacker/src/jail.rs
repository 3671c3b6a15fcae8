//! The jail. Real root only makes mounts and maps ids, before a byte of the archive is read; the
//! work runs in own user, process, network, IPC and UTS namespaces as an unprivileged host id, in
//! a root that holds nothing but the target, and without a way to mount anything (invariant 8).
use crate::failure::{Failure, Outcome};
use crate::kernel::{die_with_parent, internal, limit, mount, pipe, remount, step, text};
use crate::limits::{ID_COUNT, OPEN_FILES};
use crate::seccomp;
use crate::tree::check;
use std::ffi::{CStr, CString};
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

pub struct Jail {
    /// First host id of the range; the archive's root is this one.
    pub id_base: u32,
    pub root: Root,
    pub address_space_bytes: u64,
    pub file_bytes: u64,
    pub cpu_seconds: u64,
}

/// What the jail's `/` is.
pub enum Root {
    /// The target directory itself, writable.
    Target(CString),
    /// An empty root with the host's programs (`/usr`, read-only), the tree (read-only) at `/tree`
    /// and the output directory at `/out`.
    Programs { tree: CString, output: CString },
}

/// Capabilities inside the namespace: chown, dac_override, fowner, fsetid, setfcap.
const CAPABILITIES: u64 = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 31;
const LAST_CAPABILITY: i32 = 63;
const PANICKED: i32 = 101;
const ABORTED: i32 = 127;

/// Runs the work in the jail; the answer is its exit code.
pub fn run(jail: &Jail, work: impl FnOnce() -> i32) -> Outcome<i32> {
    // SAFETY: no arguments.
    if unsafe { libc::geteuid() } != 0 {
        return Err(Failure::internal(
            "atoll-unpack must be started as root: it maps ids; start the node daemon as root",
        ));
    }
    let (ready_read, ready_write) = pipe()?;
    let (mapped_read, mapped_write) = pipe()?;
    // SAFETY: this process has one thread, so the child may go on as usual.
    let child = unsafe { libc::fork() };
    check(child).map_err(|error| internal("fork", &error))?;
    if child == 0 {
        drop((ready_read, mapped_write));
        let code = match enter(jail, ready_write, mapped_read) {
            Ok(()) => inner(jail, work),
            Err(failure) => fail(&failure),
        };
        // SAFETY: ends the child without running the parent's exit handlers.
        unsafe { libc::_exit(code) };
    }
    drop((ready_write, mapped_read));
    let mut signal = [0_u8; 1];
    if fs::File::from(ready_read)
        .read(&mut signal)
        .map_err(|error| internal("wait for the jail", &error))?
        == 1
    {
        map_ids(child, jail.id_base)?;
        fs::File::from(mapped_write)
            .write_all(&[1])
            .map_err(|error| internal("release the jail", &error))?;
    }
    wait(child)
}

/// Prints the error for whoever started us.
pub fn fail(failure: &Failure) -> i32 {
    println!("{}", crate::report::failure_json(failure));
    1
}

fn enter(jail: &Jail, ready: OwnedFd, mapped: OwnedFd) -> Outcome<()> {
    die_with_parent();
    step("leave the host's mounts", unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    mount(None, c"/", None, libc::MS_REC | libc::MS_PRIVATE, None)?;
    match &jail.root {
        Root::Target(path) => {
            own_target(path, jail.id_base)?;
            mount(Some(path), path, None, libc::MS_BIND, None)?;
            remount(path, libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC)?;
            step("enter the target", unsafe { libc::chdir(path.as_ptr()) })?;
        }
        Root::Programs { tree, output } => programs_root(tree, output, jail.id_base)?,
    }
    // Old and new root on one spot, then the old one goes: nothing of the host stays reachable.
    step(
        "pivot into the jail",
        i32::try_from(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) }).unwrap_or(-1),
    )?;
    step("drop the host's root", unsafe {
        libc::umount2(c".".as_ptr(), libc::MNT_DETACH)
    })?;
    step("enter the new root", unsafe { libc::chdir(c"/".as_ptr()) })?;
    step("drop groups", unsafe { libc::setgroups(0, std::ptr::null()) })?;
    let namespaces =
        libc::CLONE_NEWUSER | libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    step("make namespaces", unsafe { libc::unshare(namespaces) })?;
    fs::File::from(ready)
        .write_all(&[1])
        .map_err(|error| internal("ask for the id map", &error))?;
    let mut answer = [0_u8; 1];
    fs::File::from(mapped)
        .read_exact(&mut answer)
        .map_err(|error| internal("wait for the id map", &error))?;
    become_root()?;
    die_with_parent();
    Ok(())
}

/// Process 1 of the new process namespace does the work: when it ends, nothing of it is left.
fn inner(jail: &Jail, work: impl FnOnce() -> i32) -> i32 {
    // SAFETY: still one thread.
    let child = unsafe { libc::fork() };
    if child < 0 {
        return fail(&internal("fork in the jail", &io::Error::last_os_error()));
    }
    if child > 0 {
        return match wait(child) {
            // Process 1 takes no SIGABRT: an allocation that failed and a panic end in these.
            Ok(code @ (PANICKED | ABORTED)) => fail(&Failure::invalid(format!(
                "the unpacker ran out of memory or found itself broken (exit code {code}); the archive is damaged or hostile"
            ))),
            Ok(code) => code,
            Err(failure) => fail(&failure),
        };
    }
    die_with_parent();
    if let Err(failure) = confine(jail) {
        return fail(&failure);
    }
    work()
}

fn confine(jail: &Jail) -> Outcome<()> {
    limit(libc::RLIMIT_CORE, 0)?;
    limit(libc::RLIMIT_NOFILE, OPEN_FILES)?;
    limit(libc::RLIMIT_AS, jail.address_space_bytes)?;
    limit(libc::RLIMIT_FSIZE, jail.file_bytes)?;
    limit(libc::RLIMIT_CPU, jail.cpu_seconds)?;
    // A file over the limit shall be an error that names it, not a death by SIGXFSZ.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    unsafe { libc::umask(0) };
    drop_capabilities()?;
    step("set no_new_privs", unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    })?;
    seccomp::restrict(matches!(jail.root, Root::Programs { .. }))
}

fn programs_root(tree: &CStr, output: &CStr, id_base: u32) -> Outcome<()> {
    own_target(output, id_base)?;
    // Over /proc: every host has it, and no data folder lies in it.
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    mount(
        Some(c"tmpfs"),
        c"/proc",
        Some(c"tmpfs"),
        flags,
        Some(c"size=64k,mode=755"),
    )?;
    for name in ["usr", "bin", "lib", "lib64", "sbin", "tree", "out"] {
        let host = format!("/{name}");
        let inside = format!("/proc/{name}");
        if let Ok(link) = fs::read_link(&host) {
            std::os::unix::fs::symlink(link, &inside).map_err(|error| internal("copy a link", &error))?;
            continue;
        }
        let source = match name {
            "tree" => tree.to_owned(),
            "out" => output.to_owned(),
            _ if Path::new(&host).is_dir() => text(&host)?,
            _ => continue,
        };
        fs::create_dir(&inside).map_err(|error| internal("make a mount point", &error))?;
        let inside = text(&inside)?;
        mount(Some(&source), &inside, None, libc::MS_BIND, None)?;
        let writable = if name == "out" {
            libc::MS_NOEXEC
        } else {
            libc::MS_RDONLY
        };
        remount(&inside, flags | writable)?;
    }
    remount(c"/proc", flags | libc::MS_RDONLY)?;
    step("enter the new root", unsafe { libc::chdir(c"/proc".as_ptr()) })
}

/// The target belongs to the jail's root, whatever made it.
fn own_target(path: &CStr, id_base: u32) -> Outcome<()> {
    step("give the target to the jail", unsafe {
        libc::lchown(path.as_ptr(), id_base, id_base)
    })?;
    Ok(())
}

fn map_ids(child: libc::pid_t, id_base: u32) -> Outcome<()> {
    let map = format!("0 {id_base} {ID_COUNT}\n");
    for (file, content) in [("setgroups", "deny"), ("uid_map", &map), ("gid_map", &map)] {
        fs::write(format!("/proc/{child}/{file}"), content)
            .map_err(|error| internal(&format!("write {file}"), &error))?;
    }
    Ok(())
}

fn become_root() -> Outcome<()> {
    step("take the jail's gid", unsafe { libc::setresgid(0, 0, 0) })?;
    step("take the jail's uid", unsafe { libc::setresuid(0, 0, 0) })
}

fn drop_capabilities() -> Outcome<()> {
    for capability in 0..=LAST_CAPABILITY {
        if CAPABILITIES >> capability & 1 == 0 {
            // Fails with EINVAL past the kernel's last capability, and there is nothing to drop there.
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        }
    }
    step("clear ambient capabilities", unsafe {
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    })?;
    let header: [u32; 2] = [0x2008_0522, 0];
    let low = (CAPABILITIES & 0xffff_ffff) as u32;
    let data: [u32; 6] = [low, low, 0, 0, 0, 0];
    // SAFETY: header and data have the layout of version 3 of the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) };
    step("drop capabilities", i32::try_from(result).unwrap_or(-1))
}

fn wait(child: libc::pid_t) -> Outcome<i32> {
    let mut status = 0;
    loop {
        // SAFETY: the status lives over the call; the child is ours.
        match check(unsafe { libc::waitpid(child, &raw mut status, 0) }) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(internal("wait for the jail", &error)),
        }
    }
    if libc::WIFEXITED(status) {
        return Ok(libc::WEXITSTATUS(status));
    }
    let signal = libc::WTERMSIG(status);
    let reason = match signal {
        libc::SIGSYS => "it made a system call that is not on its list".to_owned(),
        libc::SIGKILL => "its CPU time is used up (cpuSeconds), or the host killed it".to_owned(),
        _ => format!("signal {signal}"),
    };
    Err(Failure::invalid(format!(
        "the unpacker was ended: {reason}; the archive is damaged or hostile"
    )))
}
