import { Atoll } from '@atoll/sdk'
import { type Benchmark, interleaved, row, timed } from '../measure.ts'

/** Both depths: what the pause takes, and what the first call after it waits. */
export const pause: Benchmark = {
  name: 'pause',
  about: 'freeze and store a sandbox, and its first command after that; against the bare command',
  pool: 2,
  async run({ url, apiKey, samples }) {
    const atoll = new Atoll({ baseUrl: url, apiKey })
    await using sandbox = await atoll.sandboxes.create({ runtime: 'gvisor' })
    const pauses = { frozen: [] as number[], stored: [] as number[] }
    const command = () => timed(() => sandbox.run(['true']))
    const woken = async (depth: 'frozen' | 'stored'): Promise<number> => {
      pauses[depth].push(await timed(() => sandbox.pause({ depth })))
      return await command()
    }
    const [bare = [], thawed = [], restored = []] = await interleaved(samples, [
      command,
      () => woken('frozen'),
      () => woken('stored'),
    ])
    const baseline = row('run true in a running sandbox', 'ms', bare)
    return [
      baseline,
      row('pause frozen', 'ms', pauses.frozen.slice(1)),
      row('resume of a frozen one by run true', 'ms', thawed, baseline),
      row('pause stored (durable)', 'ms', pauses.stored.slice(1)),
      row('resume of a stored one by run true', 'ms', restored, baseline),
    ]
  },
}
