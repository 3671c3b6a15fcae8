import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Atoll, type Sandbox } from '@atoll/sdk'
import { type Benchmark, row } from '../measure.ts'
import { machineFolder } from '../node-records.ts'

const count = 200
const looksMs = 10_000
/** The kernel's clock ticks in /proc, a second. */
const ticksPerSecond = 100

/** CPU of many sandboxes that nobody uses, with everything of ours that watches them. */
export const idle: Benchmark = {
  name: 'idle',
  about: `percent of one core that ${count} idle sandboxes use together, the daemon and the shims included`,
  pool: 2,
  async run({ url, apiKey, dataFolder, pid, log }) {
    const atoll = new Atoll({ baseUrl: url, apiKey })
    const sandboxes: Sandbox[] = []
    try {
      for (let index = 0; index < count; index++) {
        sandboxes.push(
          await atoll.sandboxes.create({
            runtime: 'gvisor',
            limits: { memoryMib: 128, cpuMillis: 100 },
            idle: { afterMs: 1_000, action: 'pause' },
          }),
        )
        if ((index + 1) % 50 === 0) log(`${index + 1} of ${count}`)
      }
      await pausedAll(atoll)
      const processes = new Set([pid])
      for (const sandbox of sandboxes)
        for (const member of await membersOf(machineFolder(dataFolder, sandbox.id))) processes.add(member)
      const samples: number[] = []
      for (let look = 0; look < 3; look++) {
        const before = await ticksOf(processes)
        const began = performance.now()
        await sleep(looksMs)
        const seconds = (performance.now() - began) / 1_000
        samples.push((((await ticksOf(processes)) - before) / ticksPerSecond / seconds) * 100)
      }
      return [row(`${count} idle sandboxes, of one core`, 'percent', samples)]
    } finally {
      for (const sandbox of sandboxes) await sandbox.delete()
    }
  },
}

const pausedAll = async (atoll: Atoll): Promise<void> => {
  const untilMs = performance.now() + 120_000
  for (;;) {
    let running = 0
    for await (const { state } of atoll.sandboxes.list())
      if (state !== 'paused' && state !== 'ended') running++
    if (running === 0) return
    if (performance.now() > untilMs) throw new Error(`${running} sandboxes are still not paused`)
    await sleep(500)
  }
}

/** Every process of the machine's cgroups, and its shim with the spare. */
const membersOf = async (folder: string): Promise<number[]> => {
  const record = JSON.parse(await readFile(join(folder, 'shim.json'), 'utf8')) as {
    shimPid: number
    sparePid?: number
    cgroups: string[]
  }
  const pids = new Set([record.shimPid, ...(record.sparePid === undefined ? [] : [record.sparePid])])
  for (const cgroup of record.cgroups)
    for (const name of await readdir(cgroup).catch(() => []))
      if (name === 'cgroup.procs')
        for (const line of (await readFile(join(cgroup, name), 'utf8')).split('\n'))
          if (line !== '') pids.add(Number(line))
  return [...pids]
}

const ticksOf = async (pids: ReadonlySet<number>): Promise<number> => {
  let ticks = 0
  for (const pid of pids) {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
    if (stat === undefined) continue
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    ticks += Number(fields[11]) + Number(fields[12])
  }
  return ticks
}
