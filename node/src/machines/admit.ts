import { freemem, totalmem } from 'node:os'
import { readFileSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { AtollError, type NodeSandboxSpec } from '@atoll/protocol'
import type { Context } from './context.ts'
import { machineLimits } from './limits.ts'

const mib = 1024 ** 2

/** Refuses what the host cannot carry, naming the limit. Runs in one turn with the insert that it admits. */
export const admit = (context: Context, spec: NodeSandboxSpec, host: HostRoom): void => {
  const { options } = context
  const held = context.records.sandboxes.held()
  const act = `cannot create ${spec.id}`
  if (held.count >= Math.min(options.sandboxes, machineLimits.slots))
    throw new AtollError(
      'overloaded',
      `${act}: the node is at its limit of ${options.sandboxes} sandboxes; delete one`,
    )
  refuseWithoutMemory(context, act, spec.limits.memoryMib, host)
  const waiting = context.pool.waiting
  if (waiting >= options.boots + options.bootQueue)
    throw new AtollError('overloaded', `${act}: ${waiting} are waiting; try again`)
  if (host.diskFreeBytes < options.diskReserveBytes)
    throw new AtollError(
      'host_disk_full',
      `${act}: ${context.dataFolder} has ${Math.floor(host.diskFreeBytes / mib)} MiB free and keeps ${Math.floor(options.diskReserveBytes / mib)}; free some`,
    )
}

const refuseWithoutMemory = (context: Context, act: string, wantedMib: number, host: HostRoom): void => {
  const { options } = context
  const promisedMib = context.records.sandboxes.held().memoryMib + wantedMib
  const budgetMib = Math.floor((host.memoryTotalBytes / mib) * options.memoryOvercommit)
  if (promisedMib > budgetMib)
    throw new AtollError(
      'overloaded',
      `${act}: with it ${promisedMib} MiB of memory would be promised, the node's limit is ${budgetMib} MiB; ask for less or delete one`,
    )
  if (host.memoryAvailableBytes < options.memoryReserveBytes)
    throw new AtollError(
      'overloaded',
      `${act}: the host has ${Math.floor(host.memoryAvailableBytes / mib)} MiB of memory available and keeps ${Math.floor(options.memoryReserveBytes / mib)}; try again later`,
    )
}

/** The same for one that is counted already but holds no memory now. Runs in one turn with the change that it admits. */
export const admitAgain = (context: Context, { id, limits }: NodeSandboxSpec, host: HostRoom): void =>
  refuseWithoutMemory(context, `cannot bring back ${id}`, limits.memoryMib, host)

/** What the host has left. */
export interface HostRoom {
  readonly memoryTotalBytes: number
  readonly memoryAvailableBytes: number
  readonly diskFreeBytes: number
}

/** Reads it now. */
export const readHostRoom = async (dataFolder: string): Promise<HostRoom> => {
  const { bavail, bsize } = await statfs(dataFolder)
  return {
    memoryTotalBytes: totalmem(),
    memoryAvailableBytes: availableMemory(),
    diskFreeBytes: bavail * bsize,
  }
}

/** MemAvailable counts what the page cache would give back; freemem does not everywhere. */
const availableMemory = (): number => {
  try {
    const kib = /^MemAvailable:\s+(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'latin1'))?.[1]
    return kib === undefined ? freemem() : Number(kib) * 1024
  } catch {
    return freemem()
  }
}
