import { join } from 'node:path'

export interface GvisorOptions {
  /** atoll-launcher, absolute. */
  readonly launcherPath: string
  /** atoll-agent, absolute: for the image that the probe boots. */
  readonly agentPath: string
  /** runsc's own state. Short: its control sockets lie in it and a socket's path has at most 107 bytes. */
  readonly stateFolder: string
  readonly runscPath?: string
  /** Where below the cgroup mounts sandboxes live. */
  readonly cgroupParent?: string
  /** `cli` starts by `runsc start` instead of the control socket: slower, for a build whose socket differs. */
  readonly controlPath?: 'socket' | 'cli'
  /** `ptrace` accepts that platform where systrap does not boot. */
  readonly allow?: 'ptrace'
}

/** The options with their defaults, and the platform that the probe found to work. */
export interface GvisorHost {
  readonly launcherPath: string
  readonly agentPath: string
  readonly stateFolder: string
  readonly emptyRoot: string
  readonly runscPath: string
  readonly cgroupParent: string
  readonly controlPath: 'socket' | 'cli'
  readonly ptraceAllowed: boolean
  platform: Platform
}
export type Platform = 'systrap' | 'ptrace'

/** The one build whose control socket is known; Debian calls it 0.0~20240729.0. */
export const runscBuild = '20240729'

export const gvisorHost = (options: GvisorOptions): GvisorHost => ({
  launcherPath: options.launcherPath,
  agentPath: options.agentPath,
  stateFolder: options.stateFolder,
  emptyRoot: join(options.stateFolder, 'empty'),
  runscPath: options.runscPath ?? '/usr/bin/runsc',
  cgroupParent: options.cgroupParent ?? 'atoll',
  controlPath: options.controlPath ?? 'socket',
  ptraceAllowed: options.allow === 'ptrace',
  platform: 'systrap',
})

/** Version for records: build and platform, since neither can take the other's snapshots. */
export const versionOf = (host: GvisorHost): string => `runsc ${runscBuild} ${host.platform}`
