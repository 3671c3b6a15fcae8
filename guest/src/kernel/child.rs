//! Starting a program by clone(CLONE_VM | CLONE_VFORK): no copy of the page tables, and the child
//! reports a failed step through the shared memory before it goes.

use std::ffi::CString;
use std::io;
use std::os::fd::RawFd;
use std::ptr::null;

use super::credentials::Credentials;
use super::guard;
use super::signals::IGNORED;

const STACK_BYTES: usize = 65_536;

/// Everything that the child needs, made before it exists: it may call nothing but the kernel.
pub struct Plan {
    /// What is tried in order, as execvp does.
    pub programs: Vec<CString>,
    pub argv: Vec<CString>,
    pub env: Vec<CString>,
    pub cwd: CString,
    pub credentials: Credentials,
    pub stdio: [RawFd; 3],
    /// Whether stdin is a terminal that becomes the controlling one.
    pub terminal: bool,
    /// An opened cgroup.procs that the child writes itself into.
    pub cgroup: Option<RawFd>,
    pub processes_limit: Option<u64>,
    pub open_files_limit: Option<u64>,
    pub drop_capabilities: Vec<i32>,
    /// Whether the kernel lets a root inside end PID 1.
    pub guard: bool,
    /// Where the child tells its pid before exec, for those who may outlive its parent.
    pub announce: Option<RawFd>,
    /// Whether the agent's own low score must not be inherited.
    pub reset_oom_score: bool,
}

/// The step at which a start failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Step {
    Clone,
    Session,
    Cgroup,
    Descriptors,
    Terminal,
    Limits,
    Capabilities,
    Credentials,
    WorkingFolder,
    Exec,
}

impl Step {
    const ALL: [Self; 10] = [
        Self::Clone,
        Self::Session,
        Self::Cgroup,
        Self::Descriptors,
        Self::Terminal,
        Self::Limits,
        Self::Capabilities,
        Self::Credentials,
        Self::WorkingFolder,
        Self::Exec,
    ];

    pub fn from_number(number: i32) -> Self {
        Self::ALL.into_iter().find(|step| *step as i32 == number).unwrap_or(Self::Clone)
    }
}

#[derive(Debug)]
pub struct Failure {
    pub step: Step,
    pub error: io::Error,
}

struct Frame<'a> {
    plan: &'a Plan,
    programs: Vec<*const libc::c_char>,
    argv: Vec<*const libc::c_char>,
    env: Vec<*const libc::c_char>,
    step: Step,
    errno: i32,
}

/// Starts the plan's program and gives its pid. On failure the child is already reaped.
pub fn start(plan: &Plan) -> Result<i32, Failure> {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|text| text.as_ptr()).chain([null()]).collect()
    };
    let mut frame = Frame {
        plan,
        programs: pointers(&plan.programs),
        argv: pointers(&plan.argv),
        env: pointers(&plan.env),
        step: Step::Clone,
        errno: 0,
    };
    let mut stack = vec![0_u128; STACK_BYTES / 16];
    let pid = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &all, &mut before);
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        let top = stack.as_mut_ptr().add(stack.len()).cast();
        let pid = libc::clone(child, top, flags, (&raw mut frame).cast());
        let error = io::Error::last_os_error();
        libc::sigprocmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        if pid < 0 {
            return Err(Failure { step: Step::Clone, error });
        }
        pid
    };
    // The child changed it behind the compiler's back.
    let errno = unsafe { (&raw const frame.errno).read_volatile() };
    let step = unsafe { (&raw const frame.step).read_volatile() };
    if errno == 0 {
        return Ok(pid);
    }
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    Err(Failure { step, error: io::Error::from_raw_os_error(errno) })
}

extern "C" fn child(frame: *mut libc::c_void) -> libc::c_int {
    let frame = unsafe { &mut *frame.cast::<Frame<'_>>() };
    unsafe {
        frame.errno = match prepare(frame) {
            Ok(()) => execute(frame),
            Err(errno) => errno,
        };
        libc::_exit(127)
    }
}

/// Every step up to exec, in an order that keeps the rights a later step needs.
unsafe fn prepare(frame: &mut Frame<'_>) -> Result<(), i32> {
    let plan = frame.plan;
    unsafe {
        frame.step = Step::Session;
        check(libc::setsid().into())?;
        frame.step = Step::Cgroup;
        if let Some(fd) = plan.cgroup {
            check(libc::write(fd, c"0".as_ptr().cast(), 1) as i64)?;
        }
        if plan.reset_oom_score {
            let flags = libc::O_WRONLY | libc::O_CLOEXEC;
            let fd = libc::open(c"/proc/self/oom_score_adj".as_ptr(), flags);
            libc::write(fd, c"0".as_ptr().cast(), 1);
            libc::close(fd);
        }
        frame.step = Step::Descriptors;
        descriptors(plan)?;
        frame.step = Step::Terminal;
        if plan.terminal {
            check(libc::ioctl(0, libc::TIOCSCTTY, 0).into())?;
        }
        frame.step = Step::Limits;
        limit(libc::RLIMIT_NPROC, plan.processes_limit)?;
        limit(libc::RLIMIT_NOFILE, plan.open_files_limit)?;
        limit(libc::RLIMIT_CORE, Some(0))?;
        frame.step = Step::Capabilities;
        capabilities(plan)?;
        if plan.guard {
            check(guard::enter().into())?;
        }
        frame.step = Step::Credentials;
        let Credentials { uid, gid, groups } = &plan.credentials;
        check(libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()))?;
        check(libc::syscall(libc::SYS_setresgid, *gid, *gid, *gid))?;
        check(libc::syscall(libc::SYS_setresuid, *uid, *uid, *uid))?;
        frame.step = Step::WorkingFolder;
        check(libc::chdir(plan.cwd.as_ptr()).into())?;
        frame.step = Step::Exec;
        if let Some(fd) = plan.announce {
            let pid = libc::getpid();
            check(libc::write(fd, (&raw const pid).cast(), size_of::<i32>()) as i64)?;
        }
        signals();
    }
    Ok(())
}

unsafe fn descriptors(plan: &Plan) -> Result<(), i32> {
    unsafe {
        // The agent's own 0, 1 and 2 are the link and its log: they are replaced, never inherited.
        for (target, source) in plan.stdio.iter().enumerate() {
            check(libc::dup2(*source, target as i32).into())?;
        }
    }
    Ok(())
}

unsafe fn limit(resource: libc::__rlimit_resource_t, value: Option<u64>) -> Result<(), i32> {
    let Some(value) = value else { return Ok(()) };
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    unsafe { check(libc::setrlimit(resource, &limit).into()) }.map(drop)
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// Takes from the bounding and inheritable sets, so that no exec, set-user-id or not, gets back
/// what lets a process leave its limits.
unsafe fn capabilities(plan: &Plan) -> Result<(), i32> {
    unsafe {
        for capability in &plan.drop_capabilities {
            check(libc::prctl(libc::PR_CAPBSET_DROP, *capability, 0, 0, 0).into())?;
        }
        let mut header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
        let mut data = [CapabilityData::default(); 2];
        check(libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()))?;
        for half in &mut data {
            half.inheritable = 0;
        }
        check(libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()))?;
    }
    Ok(())
}

unsafe fn signals() {
    unsafe {
        for signal in IGNORED {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
        libc::umask(0o022);
    }
}

/// Tries the programs as execvp does and gives the error that says most.
unsafe fn execute(frame: &Frame<'_>) -> i32 {
    let mut worst = libc::ENOENT;
    for program in frame.programs.iter().take_while(|program| !program.is_null()) {
        let errno = unsafe {
            libc::execve(*program, frame.argv.as_ptr(), frame.env.as_ptr());
            *libc::__errno_location()
        };
        match errno {
            libc::ENOENT | libc::ENOTDIR => {}
            libc::EACCES => worst = errno,
            _ => return errno,
        }
    }
    worst
}

fn check(result: i64) -> Result<i64, i32> {
    if result < 0 { Err(unsafe { *libc::__errno_location() }) } else { Ok(result) }
}
