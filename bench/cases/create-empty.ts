import { Atoll } from '@atoll/sdk'
import { bareRuntime } from '../bare-runtime.ts'
import { type Benchmark, interleaved, row, timed } from '../measure.ts'

/** What a create costs when nothing waits for it: a restore. */
export const createEmpty: Benchmark = {
  name: 'empty',
  about: 'create with an empty pool to the end of node -v; against `runsc restore` by its CLI plus node -v',
  pool: 0,
  async run({ url, apiKey, samples, dataFolder }) {
    const atoll = new Atoll({ baseUrl: url, apiKey })
    await using bare = await bareRuntime(dataFolder)
    await using running = await atoll.sandboxes.create({ runtime: 'gvisor' })
    await using checkpoint = await bare.checkpointed()
    const creates: number[] = []
    const whole = async (): Promise<number> => {
      const start = performance.now()
      const sandbox = await atoll.sandboxes.create({ runtime: 'gvisor' })
      creates.push(performance.now() - start)
      await sandbox.run(['node', '-v'])
      const total = performance.now() - start
      await sandbox.delete()
      return total
    }
    const [restored = [], through = []] = await interleaved(samples, [
      async () =>
        (await timed(() => checkpoint.restore())) + (await timed(() => running.run(['node', '-v']))),
      whole,
    ])
    const baseline = row('runsc restore (bare) plus node -v', 'ms', restored)
    return [
      baseline,
      row('create from an empty pool to end of node -v', 'ms', through, baseline),
      row('create from an empty pool alone', 'ms', creates.slice(1)),
    ]
  },
}
