export interface ContainerOptions {
  /** atoll-launcher, absolute. */
  readonly launcherPath: string
  /** atoll-agent, absolute: for the image that the probe boots. */
  readonly agentPath: string
  /** crun's own state. */
  readonly stateFolder: string
  readonly crunPath?: string
  /** Where below the cgroup mounts sandboxes live. */
  readonly cgroupParent?: string
}

/** The options with their defaults, and the version that the probe saw. */
export interface ContainerHost {
  readonly launcherPath: string
  readonly agentPath: string
  readonly stateFolder: string
  readonly crunPath: string
  readonly cgroupParent: string
  version: string
}

export const containerHost = (options: ContainerOptions): ContainerHost => ({
  launcherPath: options.launcherPath,
  agentPath: options.agentPath,
  stateFolder: options.stateFolder,
  crunPath: options.crunPath ?? '/usr/bin/crun',
  cgroupParent: options.cgroupParent ?? 'atoll',
  version: 'crun',
})
