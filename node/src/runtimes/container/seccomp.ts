/** Everything is refused with EPERM but what stands here. */
const allowed = [
  // files and folders
  'access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2',
  'fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync',
  'fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64',
  'futimesat getcwd getdents getdents64 getxattr inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl',
  'lchown lchown32 lgetxattr link linkat listxattr llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 mkdir',
  'mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2',
  'read readahead readlink readlinkat readv removexattr rename renameat renameat2 rmdir sendfile sendfile64 setxattr splice',
  'stat stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range syncfs tee truncate truncate64 umask unlink',
  'unlinkat utime utimensat utimensat_time64 utimes vmsplice write writev',
  // memory
  'brk cachestat madvise map_shadow_stack membarrier memfd_create mincore mlock mlock2 mlockall mmap mmap2 mprotect mremap mseal msync',
  'munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect remap_file_pages',
  // processes, threads, credentials (those need capabilities in the container's own user namespace)
  'arch_prctl capget capset clock_nanosleep clock_nanosleep_time64 execve execveat exit exit_group fork futex',
  'futex_time64 futex_requeue futex_wait futex_waitv futex_wake get_robust_list get_thread_area getcpu getegid getegid32',
  'geteuid geteuid32 getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid getpriority getresgid',
  'getresgid32 getresuid getresuid32 getrlimit getrusage getsid gettid getuid getuid32 ioprio_get ioprio_set kill',
  'nanosleep pidfd_open pidfd_send_signal pidfd_getfd prctl prlimit64 process_mrelease restart_syscall rseq sched_get_priority_max',
  'sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval',
  'sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp',
  'set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups',
  'setgroups32 setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32',
  'setrlimit setsid setuid setuid32 tgkill tkill vfork wait4 waitid waitpid',
  // Landlock only ever takes rights away.
  'landlock_add_rule landlock_create_ruleset landlock_restrict_self',
  // signals, time, waiting
  'alarm clock_getres clock_getres_time64 clock_gettime clock_gettime64 epoll_create epoll_create1 epoll_ctl',
  'epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 getitimer gettimeofday pause pipe',
  'pipe2 poll ppoll ppoll_time64 pselect6 pselect6_time64 rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo',
  'rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo _newselect select setitimer',
  'sigaltstack signalfd signalfd4 sigprocmask sigreturn time timer_create timer_delete timer_getoverrun timer_gettime',
  'timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime',
  'timerfd_settime64 times',
  // sockets
  'accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64 recvmsg',
  'send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair',
  // System V and POSIX queues
  'ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink',
  'msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget',
  // asynchronous input and output of the old kind; io_uring is refused
  'io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit',
  // the machine
  'getrandom sysinfo uname',
  // The agent's: they need CAP_SYS_ADMIN and CAP_SYS_CHROOT, which it hands to nobody.
  'sethostname umount2 chroot',
  // debuggers: of one's own processes
  'ptrace process_vm_readv process_vm_writev kcmp',
].flatMap((line) => line.split(' '))

const eperm = 1
const enosys = 38
/** Flags of clone that make namespaces: NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. */
const namespaceFlags = 0x7e020000
/** Unix, IPv4, IPv6 and netlink; no packet (17), ALG (38) or vsock (40) sockets, which reach the host's kernel deep. */
const socketFamilies = [1, 2, 10, 16]
const personalities = [0x0, 0x0008, 0x20000, 0x20008, 0xffffffff]

/** The profile: default deny, modelled on the one that container engines share. */
export const seccompProfile = {
  defaultAction: 'SCMP_ACT_ERRNO',
  defaultErrnoRet: eperm,
  architectures: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'],
  syscalls: [
    { names: allowed, action: 'SCMP_ACT_ALLOW' },
    {
      names: ['clone'],
      action: 'SCMP_ACT_ALLOW',
      args: [{ index: 0, value: namespaceFlags, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }],
    },
    // Its flags lie in memory where no filter sees them: C libraries fall back to clone.
    { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: enosys },
    ...socketFamilies.map((value) => ({
      names: ['socket'],
      action: 'SCMP_ACT_ALLOW',
      args: [{ index: 0, value, op: 'SCMP_CMP_EQ' }],
    })),
    ...personalities.map((value) => ({
      names: ['personality'],
      action: 'SCMP_ACT_ALLOW',
      args: [{ index: 0, value, op: 'SCMP_CMP_EQ' }],
    })),
  ],
} as const
