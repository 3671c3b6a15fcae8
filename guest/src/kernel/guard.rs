//! A filter on user processes in gVisor, whose kernel lets root inside end PID 1 by SIGKILL and so
//! the sandbox. Linux protects the first process of a pid namespace by itself.

/// The agent's pid wherever the filter is used.
const AGENT: u32 = 1;
const NUMBER_OFFSET: u32 = 0;
const FIRST_ARGUMENT_OFFSET: u32 = 16;
const SECOND_ARGUMENT_OFFSET: u32 = 24;

/// Calls whose first argument names who is to be hit; a pid fits its lower half.
const BY_FIRST: [i64; 8] = [
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_prlimit64,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
];
/// The one whose second does.
const BY_SECOND: i64 = libc::SYS_ptrace;
const LENGTH: usize = BY_FIRST.len() + 10;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

static PROGRAM: [libc::sock_filter; LENGTH] = program();

/// Puts the filter on the calling process for good; it may call nothing but the kernel.
pub unsafe fn enter() -> libc::c_int {
    let program =
        libc::sock_fprog { len: LENGTH as libc::c_ushort, filter: PROGRAM.as_ptr().cast_mut() };
    let mode = libc::SECCOMP_MODE_FILTER;
    unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program, 0, 0) }
}

const fn program() -> [libc::sock_filter; LENGTH] {
    let count = BY_FIRST.len();
    let mut program = [statement(RETURN, libc::SECCOMP_RET_ALLOW); LENGTH];
    program[0] = statement(LOAD, NUMBER_OFFSET);
    let mut index = 0;
    while index < count {
        // Over the rest of the list, the second list and its return.
        program[1 + index] = jump(BY_FIRST[index] as u32, (count - index + 1) as u8);
        index += 1;
    }
    program[count + 1] = jump(BY_SECOND as u32, 4);
    // count + 2 allows everything else.
    program[count + 3] = statement(LOAD, FIRST_ARGUMENT_OFFSET);
    program[count + 4] = jump(AGENT, 3);
    // count + 5 allows.
    program[count + 6] = statement(LOAD, SECOND_ARGUMENT_OFFSET);
    program[count + 7] = libc::sock_filter { jf: 1, ..jump(AGENT, 0) };
    program[count + 8] = statement(RETURN, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);
    // count + 9 allows.
    program
}

const fn statement(code: u16, value: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt: 0, jf: 0, k: value }
}

const fn jump(value: u32, over: u8) -> libc::sock_filter {
    libc::sock_filter { code: JUMP_IF_EQUAL, jt: over, jf: 0, k: value }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a forked child with the filter, or without, is told.
    fn told(filtered: bool, act: fn() -> bool) -> i32 {
        unsafe {
            let child = libc::fork();
            if child == 0 {
                let entered = !filtered || enter() == 0;
                libc::_exit(if !entered { 9 } else { i32::from(act()) });
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &mut status, 0), child);
            libc::WEXITSTATUS(status)
        }
    }

    fn refused(result: i64) -> bool {
        result < 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
    }

    const ACTS: [fn() -> bool; 4] = [
        || refused(unsafe { libc::kill(1, 0) }.into()),
        || refused(unsafe { libc::syscall(libc::SYS_tgkill, 1, 1, 0) }),
        || {
            let none = std::ptr::null::<libc::rlimit>();
            let resource = libc::RLIMIT_CORE;
            refused(unsafe { libc::syscall(libc::SYS_prlimit64, 1, resource, none, none) })
        },
        || refused(unsafe { libc::syscall(libc::SYS_ptrace, 0x4206, 1, 0, 1_u64 << 40) }),
    ];

    #[test]
    fn the_first_process_is_out_of_reach() {
        for act in ACTS {
            assert_eq!(told(true, act), 1);
        }
        for act in &ACTS[..3] {
            assert_eq!(told(false, *act), 0, "without the filter root reaches it");
        }
    }

    #[test]
    fn all_else_goes_on() {
        let all: fn() -> bool = || unsafe {
            let own = libc::getpid();
            let mut limit: libc::rlimit = std::mem::zeroed();
            libc::kill(own, 0) == 0
                && libc::syscall(libc::SYS_tgkill, own, own, 0) == 0
                && libc::prlimit(0, libc::RLIMIT_CORE, std::ptr::null(), &mut limit) == 0
                && libc::fork() >= 0
        };
        assert_eq!(told(true, all), 1);
    }
}
