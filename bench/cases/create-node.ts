import { Atoll } from '@atoll/sdk'
import { bareRuntime } from '../bare-runtime.ts'
import { type Benchmark, interleaved, row, timed } from '../measure.ts'

/** ComputeSDK's method: from the call of create to the end of a first `node -v`, through the SDK. */
export const createNode: Benchmark = {
  name: 'create',
  about: 'create a sandbox, run node -v in it, delete it; against the bare `runsc run … node -v`',
  async run({ url, apiKey, samples, dataFolder }) {
    const atoll = new Atoll({ baseUrl: url, apiKey })
    await using bare = await bareRuntime(dataFolder)
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
    const [cold = [], through = []] = await interleaved(samples, [
      () => timed(() => bare.runOnce(['node', '-v'])),
      whole,
    ])
    const baseline = row('runsc run node -v (bare)', 'ms', cold)
    return [
      baseline,
      row('create to end of node -v', 'ms', through, baseline),
      row('create alone', 'ms', creates.slice(1)),
      row('delete alone', 'ms', deletes.slice(1)),
    ]
  },
}
