import { sandboxLimits } from '@atoll/protocol'
import { agentOpenFiles } from '../agent-limits.ts'
import type { MachineSpec } from '../driver.ts'
import { containerLimits } from './limits.ts'
import { places } from './places.ts'
import { seccompProfile } from './seccomp.ts'

/** Ids of one sandbox on the host. */
const idsPerSandbox = 65_536
/** In the container's user namespace: owner of the agent's cgroup, and of nothing else. */
export const cgroupOwner = 65_533
/** By so many the RLIMIT_NPROC of a command exceeds the sandbox's number, which the cgroup enforces and counts. */
const processesSpare = 2

/** SYS_ADMIN is the agent's, for the host name; it hands it to nobody. All count in the container's own namespace. */
const agentCapabilities = [
  'CHOWN',
  'DAC_OVERRIDE',
  'FSETID',
  'FOWNER',
  'SETGID',
  'SETUID',
  'SETPCAP',
  'NET_BIND_SERVICE',
  'KILL',
  'SYS_ADMIN',
].map((name) => `CAP_${name}`)

const maskedPaths = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kallsyms',
  '/proc/kcore',
  '/proc/keys',
  '/proc/kmsg',
  '/proc/kpagecount',
  '/proc/kpageflags',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/vmallocinfo',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
  '/sys/fs',
  '/sys/kernel',
]
const readonlyPaths = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger']

/** OCI spec for crun. Its paths are those of the launcher's private mount namespace. */
export const ociSpec = (spec: MachineSpec): object => {
  const mapping = [{ containerID: 0, hostID: spec.uidBase, size: idsPerSandbox }]
  // The agent's own: it gives each command the limits of the sandbox, which a resize may raise.
  const agentFiles = Math.max(spec.limits.openFiles, agentOpenFiles)
  const mostProcesses = sandboxLimits.processes.max + processesSpare
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: false,
      user: { uid: 0, gid: 0 },
      args: ['/.atoll/agent'],
      cwd: '/',
      env: [
        'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        'LANG=C.UTF-8',
        'ATOLL_CGROUP2_DIR=/.atoll/cgroup',
        'ATOLL_MEMORY_CGROUP_DIR=/.atoll/memory',
        'ATOLL_PIDS_CGROUP_DIR=/.atoll/pids',
      ],
      capabilities: {
        bounding: agentCapabilities,
        effective: agentCapabilities,
        permitted: agentCapabilities,
        inheritable: [],
        ambient: [],
      },
      noNewPrivileges: true,
      rlimits: [
        { type: 'RLIMIT_NPROC', hard: mostProcesses, soft: mostProcesses },
        { type: 'RLIMIT_NOFILE', hard: agentFiles, soft: agentFiles },
        { type: 'RLIMIT_CORE', hard: 0, soft: 0 },
      ],
    },
    root: { path: places.root, readonly: false },
    hostname: spec.hostname,
    mounts,
    linux: {
      namespaces: ['pid', 'ipc', 'uts', 'mount', 'user', 'network', 'cgroup'].map((type) => ({ type })),
      uidMappings: mapping,
      gidMappings: mapping,
      seccomp: seccompProfile,
      maskedPaths,
      readonlyPaths,
    },
  }
}

const mounts = [
  { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
  {
    destination: '/proc/meminfo',
    type: 'bind',
    source: places.meminfo,
    options: ['bind', 'ro', 'nosuid', 'nodev', 'noexec'],
  },
  { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755', 'size=65536'] },
  {
    destination: '/dev/pts',
    type: 'devpts',
    source: 'devpts',
    options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
  },
  {
    destination: '/dev/shm',
    type: 'tmpfs',
    source: 'shm',
    options: ['nosuid', 'noexec', 'nodev', 'mode=1777', `size=${containerLimits.sharedMemoryBytes}`],
  },
  { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
  {
    destination: '/.atoll/cgroup',
    type: 'bind',
    source: places.cgroup,
    options: ['bind', 'rw', 'nosuid', 'nodev', 'noexec'],
  },
  {
    destination: '/.atoll/memory',
    type: 'bind',
    source: places.memory,
    options: ['bind', 'ro', 'nosuid', 'nodev', 'noexec'],
  },
  {
    destination: '/.atoll/pids',
    type: 'bind',
    source: places.pids,
    options: ['bind', 'ro', 'nosuid', 'nodev', 'noexec'],
  },
]
