//! Capabilities that no user process gets, not even root's.

/// With these a process could lift its own limits, leave its mounts or take over the agent.
/// CAP_SYS_PTRACE: a debugger still attaches to processes of its own user.
const KEPT_FROM_USERS: [i32; 13] = [
    12, // CAP_NET_ADMIN
    16, // CAP_SYS_MODULE
    17, // CAP_SYS_RAWIO
    19, // CAP_SYS_PTRACE
    20, // CAP_SYS_PACCT
    21, // CAP_SYS_ADMIN
    22, // CAP_SYS_BOOT
    24, // CAP_SYS_RESOURCE
    25, // CAP_SYS_TIME
    34, // CAP_SYSLOG
    38, // CAP_PERFMON
    39, // CAP_BPF
    40, // CAP_CHECKPOINT_RESTORE
];

/// Those of them that the agent's bounding set still holds.
pub fn to_drop() -> Vec<i32> {
    let held =
        |capability: &i32| unsafe { libc::prctl(libc::PR_CAPBSET_READ, *capability, 0, 0, 0) == 1 };
    KEPT_FROM_USERS.into_iter().filter(held).collect()
}
