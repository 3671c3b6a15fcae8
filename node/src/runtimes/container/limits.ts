import type { LimitTranslation } from '../../host/shimmed-machine.ts'

/** Bytes beside the guest's memory: the agent and what the kernel charges for it. */
const agentBytes = 16 * 1024 ** 2
/**
 * The agent, which has one thread: the cgroup, which counts what it refuses, holds it and exactly the sandbox's own.
 * What crun needs while it starts is less than any sandbox may have, and is gone before the first command.
 */
const agentProcesses = 1

export const containerLimits = {
  startTimeoutMs: 20_000,
  timerSlackNs: 50_000,
  /** The agent is the last to be killed; it raises its children's score to 0. */
  oomScoreAdj: -500,
  sharedMemoryBytes: 64 * 1024 ** 2,
  formatTimeoutMs: 30_000,
  /** Writing out, copying and checking a disk. */
  copyTimeoutMs: 600_000,
  thawTimeoutMs: 10_000,
} as const

/** The sandbox's limits as those of its cgroup. */
export const translation: LimitTranslation = {
  toHost: ({ memoryBytes, processes }) => ({
    memoryBytes: memoryBytes + agentBytes,
    pids: processes + agentProcesses,
  }),
  memoryFromHost: (bytes) => bytes - agentBytes,
  processesFromHost: (pids) => pids - agentProcesses,
}
