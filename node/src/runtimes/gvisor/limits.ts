import type { LimitTranslation } from '../../host/shimmed-machine.ts'

/**
 * Bytes beside the guest's memory: gVisor's own kernel and page cache (13–30 MiB measured), and what a hog takes
 * between two looks of the agent's watchdog (1 to 2 GiB/s). Over it the whole sandbox ends, so it is generous.
 */
const kernelBytes = 192 * 1024 ** 2
/** A guest process costs about two on the host; the host's limit kills the sandbox and is only a backstop. */
const hostPidsPerProcess = 2.5
const hostPidsSpare = 100

export const gvisorLimits = {
  startTimeoutMs: 20_000,
  /** Takes a sandbox's idle CPU from 2.1 % to 0.64 % of a core. */
  timerSlackNs: 5_000_000,
  /** Least CPUs of gVisor's own kernel, and what it has on a host with many. */
  leastKernelCpus: 2,
  usualKernelCpus: 8,
  /** The longest that one checkpoint or restore may take. */
  callTimeoutMs: 600_000,
  /** Bytes that must stay free on the disk that a checkpoint is written to. */
  diskReserveBytes: 64 * 1024 ** 2,
  /** With less left after a failure the disk is what was in the way. */
  fullDiskBytes: 2 * 1024 ** 2,
  sharedMemoryBytes: 64 * 1024 ** 2,
} as const

/** The guest's limits as those of the cgroup around gVisor. */
export const translation: LimitTranslation = {
  toHost: ({ memoryBytes, processes }) => ({
    memoryBytes: memoryBytes + kernelBytes,
    pids: Math.ceil(processes * hostPidsPerProcess) + hostPidsSpare,
  }),
  memoryFromHost: (bytes) => bytes - kernelBytes,
  processesFromHost: (pids) => Math.floor((pids - hostPidsSpare) / hostPidsPerProcess),
}
