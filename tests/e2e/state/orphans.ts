import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Stack } from '../../stack/start-stack.ts'
import { hostProcesses } from '../host-processes.ts'
import { machinesInUse, savedImages } from './machine-of.ts'

/** Longest that a teardown may go on after its answer, ms. */
const settleMs = 8_000

/**
 * What is on the host for this stack and belongs to no record of its node: folders of machines, their processes
 * and cgroups, images, and what a write left half-way. A machine of the pool has a record, and is none.
 */
export const orphans = async (stack: Pick<Stack, 'dataFolder'>): Promise<string[]> => {
  const untilMs = performance.now() + settleMs
  for (;;) {
    const found = look(stack.dataFolder)
    if (found.length === 0 || performance.now() > untilMs) return found
    await delay(200)
  }
}

const look = (dataFolder: string): string[] => {
  const machines = new Set(machinesInUse({ dataFolder }))
  const digests = new Set(savedImages({ dataFolder }).map(({ digest }) => digest.replace(/^sha256:/, '')))
  const folders = entries(join(dataFolder, 'sandboxes')).filter((name) => !machines.has(name))
  const images = entries(join(dataFolder, 'snapshots')).filter((name) => !digests.has(name))
  const processes = hostProcesses()
    .filter(({ commandLine, cgroups }) => `${commandLine} ${cgroups}`.includes(dataFolder))
    .filter(({ commandLine, cgroups }) => {
      const ids = `${commandLine} ${cgroups}`.match(/sbx_[a-z2-7]{20}/g) ?? []
      return ids.length > 0 && !ids.some((id) => machines.has(id))
    })
  return [
    ...folders.map((name) => `folder of a machine: ${name}`),
    ...images.map((name) => `image: ${name}`),
    ...processes.map(({ pid, commandLine }) => `process ${pid}: ${commandLine.slice(0, 200)}`),
  ]
}

const entries = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder) : [])
