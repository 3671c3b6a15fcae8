import { join } from 'node:path'
import { sandboxLimits } from '@atoll/protocol'
import { agentOpenFiles } from '../agent-limits.ts'
import type { MachineSpec } from '../driver.ts'
import { gvisorLimits } from './limits.ts'
import type { GvisorHost } from './options.ts'

/** What the agent may do inside; it hands none of SYS_ADMIN and SYS_RESOURCE on to user commands. */
const agentCapabilities = [
  'CHOWN',
  'DAC_OVERRIDE',
  'FSETID',
  'FOWNER',
  'MKNOD',
  'SETGID',
  'SETUID',
  'SETFCAP',
  'SETPCAP',
  'NET_BIND_SERVICE',
  'SYS_CHROOT',
  'KILL',
  'AUDIT_WRITE',
  'SYS_PTRACE',
  'SYS_ADMIN',
].map((name) => `CAP_${name}`)

/** Ids of one sandbox: its gVisor runs as the first of them on the host. */
const idsPerSandbox = 65_536

/** Host folder in which the disk's one file lies; gVisor gets that file open, and never the folder. */
export const diskFolder = (directory: string): string => join(directory, 'disk')

/** runsc's files of a sandbox. */
export const stateFiles = (
  host: GvisorHost,
  { id, directory }: Pick<MachineSpec, 'id' | 'directory'>,
): string[] => [
  join(host.stateFolder, `${id}_sandbox:${id}.state`),
  join(host.stateFolder, `${id}_sandbox:${id}.lock`),
  controlSocket(host, id),
  join(diskFolder(directory), `.gvisor.filestore.${id}`),
]

export const controlSocket = (host: GvisorHost, id: string): string =>
  join(host.stateFolder, `runsc-${id}.sock`)

/** OCI spec: EROFS root without a gofer, so that no folder of the host is reachable from inside. */
export const ociSpec = (host: GvisorHost, spec: MachineSpec): object => {
  const mapping = [{ containerID: 0, hostID: spec.uidBase, size: idsPerSandbox }]
  // The agent gives each command the limits of the sandbox, which may be other ones after a restore: what the
  // image has is only the most that it can give.
  const { processes, openFiles } = sandboxLimits
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: false,
      user: { uid: 0, gid: 0 },
      args: ['/.atoll/agent'],
      cwd: '/',
      env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'LANG=C.UTF-8'],
      capabilities: Object.fromEntries(
        ['bounding', 'effective', 'permitted', 'inheritable'].map((set) => [set, agentCapabilities]),
      ),
      rlimits: [
        { type: 'RLIMIT_NPROC', hard: processes.max, soft: processes.max },
        { type: 'RLIMIT_NOFILE', hard: openFiles.max, soft: agentOpenFiles },
        { type: 'RLIMIT_CORE', hard: 0, soft: 0 },
      ],
    },
    root: { path: host.emptyRoot, readonly: false },
    hostname: spec.hostname,
    mounts: mountsOf(spec),
    annotations: {
      'dev.gvisor.spec.rootfs.source': spec.imagePath,
      'dev.gvisor.spec.rootfs.type': 'erofs',
      // A tmpfs whose pages are a file in that folder. `shared` only keeps runsc from a second, common mount of it.
      'dev.gvisor.spec.mount.disk.source': diskFolder(spec.directory),
      'dev.gvisor.spec.mount.disk.type': 'tmpfs',
      'dev.gvisor.spec.mount.disk.share': 'shared',
    },
    linux: {
      namespaces: ['pid', 'ipc', 'uts', 'mount', 'user', 'network'].map((type) => ({ type })),
      uidMappings: mapping,
      gidMappings: mapping,
    },
  }
}

const mountsOf = (spec: MachineSpec): object[] => [
  { destination: '/proc', type: 'proc', source: 'proc' },
  { destination: '/dev', type: 'tmpfs', source: 'tmpfs' },
  {
    destination: '/dev/shm',
    type: 'tmpfs',
    source: 'tmpfs',
    options: ['mode=1777', `size=${gvisorLimits.sharedMemoryBytes}`],
  },
  { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['ro'] },
  {
    destination: '/.atoll/disk',
    type: 'bind',
    source: diskFolder(spec.directory),
    options: [`size=${spec.limits.diskBytes}`, 'mode=755'],
  },
]
