import { Atoll } from '@atoll/sdk'
import { bareRuntime } from '../bare-runtime.ts'
import { type Benchmark, interleaved, row, timed } from '../measure.ts'
import { poolFilled } from '../node-records.ts'

/** Sequential creates of the longest run: as many machines wait, so that each finds one. */
const pool = 110
const fillMs = 240_000

/** ComputeSDK's method: from the call of create to the end of a first `node -v`, through the SDK. */
export const createNode: Benchmark = {
  name: 'create',
  about: 'create a sandbox from a full pool, run node -v in it, delete it; against node -v in one that runs',
  pool,
  async run({ url, apiKey, samples, dataFolder }) {
    const atoll = new Atoll({ baseUrl: url, apiKey })
    await using bare = await bareRuntime(dataFolder)
    await using running = await atoll.sandboxes.create({ runtime: 'gvisor' })
    const rounds = Math.min(samples, pool - 10)
    await poolFilled(dataFolder, rounds + 1, fillMs)
    const creates: number[] = []
    const deletes: number[] = []
    const whole = async (): Promise<number> => {
      const start = performance.now()
      const sandbox = await atoll.sandboxes.create({ runtime: 'gvisor' })
      creates.push(performance.now() - start)
      const result = await sandbox.run(['node', '-v'])
      const total = performance.now() - start
      if (!result.stdout.startsWith('v')) throw new Error(`node -v said ${JSON.stringify(result.stdout)}`)
      deletes.push(await timed(() => sandbox.delete()))
      return total
    }
    const [command = [], cold = [], through = []] = await interleaved(rounds, [
      () => timed(() => running.run(['node', '-v'])),
      () => timed(() => bare.runOnce(['node', '-v'])),
      whole,
    ])
    const baseline = row('node -v in a running sandbox', 'ms', command)
    const bareRun = row('runsc run node -v (bare)', 'ms', cold)
    return [
      baseline,
      bareRun,
      row('create to end of node -v', 'ms', through, baseline),
      { ...row('create to end of node -v', 'ms', through, bareRun), name: 'the same, vs runsc run' },
      row('create alone', 'ms', creates.slice(1)),
      row('delete alone', 'ms', deletes.slice(1)),
    ]
  },
}
