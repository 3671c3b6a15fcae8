import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Atoll, type Sandbox } from '@atoll/sdk'
import { type Benchmark, row } from '../measure.ts'
import { machineFolder } from '../node-records.ts'

const count = 10

/** Proportional set size of everything on the host that exists because of one idle sandbox. */
export const memory: Benchmark = {
  name: 'memory',
  about: `memory (PSS) per idle, frozen and forked sandbox, ${count} at once: runtime, and shim with its spare`,
  pool: 2,
  async run({ url, apiKey, dataFolder }) {
    const atoll = new Atoll({ baseUrl: url, apiKey })
    const sandboxes: Sandbox[] = []
    try {
      for (let index = 0; index < count; index++)
        sandboxes.push(await atoll.sandboxes.create({ runtime: 'gvisor' }))
      const idle = await sumsOf(sandboxes, dataFolder)
      for (const sandbox of sandboxes) await sandbox.pause({ depth: 'frozen' })
      const frozen = await sumsOf(sandboxes, dataFolder)
      const [parent] = sandboxes
      if (parent === undefined) throw new Error('no sandbox was made')
      await parent.resume()
      const children = await parent.fork({ count })
      sandboxes.push(...children)
      const forked = await sumsOf(children, dataFolder)
      const baseline = row('runtime of an idle sandbox', 'MiB', idle.runtime)
      return [
        baseline,
        row('shim and spare of an idle sandbox', 'MiB', idle.shim, baseline),
        row('runtime of a frozen sandbox', 'MiB', frozen.runtime, baseline),
        row('runtime of a forked sandbox', 'MiB', forked.runtime, baseline),
      ]
    } finally {
      await Promise.all(sandboxes.map((sandbox) => sandbox.delete()))
    }
  },
}

const sumsOf = async (
  sandboxes: readonly Sandbox[],
  dataFolder: string,
): Promise<{ runtime: number[]; shim: number[] }> => {
  const runtime: number[] = []
  const shim: number[] = []
  for (const sandbox of sandboxes) {
    const sums = await pssOf(machineFolder(dataFolder, sandbox.id))
    runtime.push(sums.runtimeMib)
    shim.push(sums.shimMib)
  }
  return { runtime, shim }
}

const pssOf = async (folder: string): Promise<{ runtimeMib: number; shimMib: number }> => {
  const record: unknown = JSON.parse(await readFile(join(folder, 'shim.json'), 'utf8'))
  const { shimPid, runtimePid } = record as { shimPid: number; runtimePid: number }
  const parents = await parentsOfAll()
  const tree = (top: number): number[] => [
    top,
    ...[...parents].filter(([, parent]) => parent === top).flatMap(([pid]) => tree(pid)),
  ]
  const runtime = new Set(tree(runtimePid))
  const relatives = new Set([...tree(shimPid), parents.get(shimPid) ?? shimPid])
  const shims: number[] = []
  for (const pid of relatives) if (!runtime.has(pid) && (await isLauncher(pid))) shims.push(pid)
  const sum = async (pids: Iterable<number>): Promise<number> => {
    let kib = 0
    for (const pid of pids) kib += await pssKib(pid)
    return kib / 1_024
  }
  return { runtimeMib: await sum(runtime), shimMib: await sum(shims) }
}

const parentsOfAll = async (): Promise<Map<number, number>> => {
  const parents = new Map<number, number>()
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const stat = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => '')
    const parent = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]
    if (parent !== undefined) parents.set(Number(name), Number(parent))
  }
  return parents
}

const isLauncher = async (pid: number): Promise<boolean> =>
  (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).includes('atoll-launcher')

const pssKib = async (pid: number): Promise<number> => {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8').catch(() => '')
  return Number(/^Pss:\s+(\d+)/m.exec(text)?.[1] ?? 0)
}
