import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { makeId } from '@atoll/protocol'
import { afterAll, beforeAll } from 'vitest'
import { agentImage } from '../../src/host/probe-boot.ts'
import { testHost } from '../../src/host/test-host.ts'
import { containerDriver } from '../../src/runtimes/container/driver.ts'
import type { Machine, MachineSpec, RuntimeDriver } from '../../src/runtimes/driver.ts'
import { gvisorDriver } from '../../src/runtimes/gvisor/driver.ts'

export const host = testHost()
export const signal = (): AbortSignal => AbortSignal.timeout(30_000)
const common = { launcherPath: host.launcherPath, agentPath: host.agentPath, cgroupParent: 'atoll-test' }
export const stateFolders = { gvisor: '/run/atoll-test/gvisor', container: '/run/atoll-test/crun' } as const

export const drivers: Readonly<Record<'gvisor' | 'container', RuntimeDriver>> = {
  gvisor: gvisorDriver({ ...common, stateFolder: stateFolders.gvisor }),
  container: containerDriver({ ...common, stateFolder: stateFolders.container }),
}

/** A folder with an image of nothing but the agent, and specs in it. */
export const useDrill = () => {
  let folder = ''
  let imagePath = ''
  beforeAll(async () => {
    // Short: unix sockets lie below it.
    folder = await mkdtemp('/tmp/atl-')
    imagePath = await agentImage(folder, host.agentPath, signal())
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))
  return {
    imagePath: () => imagePath,
    spec: async (more: Partial<MachineSpec> = {}): Promise<MachineSpec> => ({
      id: makeId('sbx', randomBytes(20)),
      directory: await mkdtemp(join(folder, 'd-')),
      imagePath,
      hostname: 'drill',
      limits: {
        cpuMillis: 1_000,
        memoryBytes: 128 * 1024 ** 2,
        processes: 32,
        diskBytes: 64 * 1024 ** 2,
        openFiles: 1_024,
      },
      uidBase: 2_500_000_000,
      deadlineUnixMs: Date.now() + 300_000,
      ...more,
    }),
  }
}

/** What of a sandbox is left on the host; empty when it is gone. */
export const traces = ({ id, directory }: Pick<MachineSpec, 'id' | 'directory'>): string[] => [
  ...cgroups(id),
  ...pids()
    .filter((pid) => read(`/proc/${pid}/cgroup`).includes(id) || isLauncherOf(pid, directory))
    .map((pid) => `process ${pid} ${read(`/proc/${pid}/comm`).trim()}`),
  ...Object.values(stateFolders).flatMap((folder) =>
    existsSync(folder) ? readdirSync(folder).filter((name) => name.includes(id)) : [],
  ),
  ...readdirSync('/sys/block')
    .map((name) => read(`/sys/block/${name}/loop/backing_file`).trim())
    .filter((path) => path.startsWith(directory)),
  ...['agent.sock', 'shim.sock', 'shim.json'].filter((name) => existsSync(join(directory, name))),
]

/** Waits until nothing is left: a shim ends itself just after its answer. */
export const untilGone = async (spec: Pick<MachineSpec, 'id' | 'directory'>): Promise<string[]> => {
  const until = performance.now() + 5_000
  while (traces(spec).length > 0 && performance.now() < until) await sleep(10)
  return traces(spec)
}

/** Launcher processes of a sandbox: they keep the command line of `run`. */
export const launchersOf = (directory: string): number[] =>
  pids().filter((pid) => isLauncherOf(pid, directory))

export const shimRecord = (machine: Machine): { shimPid: number; spare: { pid: number } | null } =>
  JSON.parse(readFileSync(join(machine.record.directory, 'shim.json'), 'utf8'))

const isLauncherOf = (pid: number, directory: string): boolean => {
  const command = read(`/proc/${pid}/cmdline`)
  return command.includes('atoll-launcher') && command.includes(directory)
}

const pids = (): number[] => readdirSync('/proc').map(Number).filter(Number.isInteger)

const cgroups = (id: string): string[] =>
  ['', ...readdirSync('/sys/fs/cgroup')]
    .map((name) => join('/sys/fs/cgroup', name, 'atoll-test', id))
    .filter((path) => existsSync(path))

/** A process that ends while we look has nothing to read. */
const read = (path: string): string => {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
