import { Atoll } from '@atoll/sdk'
import { bareRuntime } from '../bare-runtime.ts'
import { type Benchmark, interleaved, row, timed } from '../measure.ts'

/** What a call costs above the work itself. The agent's own time is fork to reaped exit, as it measured it. */
export const execTrue: Benchmark = {
  name: 'exec',
  about: "run `true` through the SDK; against the agent's own fork and exec, and `runsc exec true`",
  async run({ url, apiKey, samples, dataFolder }) {
    const atoll = new Atoll({ baseUrl: url, apiKey })
    await using bare = await bareRuntime(dataFolder)
    await using sandbox = await atoll.sandboxes.create({ runtime: 'gvisor' })
    const own: number[] = []
    const through = async (): Promise<number> => {
      const start = performance.now()
      const result = await sandbox.run(['true'])
      const total = performance.now() - start
      if (result.exit.code !== 0) throw new Error(`true ended with ${JSON.stringify(result.exit)}`)
      own.push(result.exit.durationMs)
      return total
    }
    const [bareExec = [], whole = []] = await interleaved(samples * 3, [
      () => timed(() => bare.exec(['true'])),
      through,
    ])
    const agent = row('fork and exec of true by the agent', 'ms', own.slice(1))
    const cli = row('runsc exec true (bare)', 'ms', bareExec)
    return [
      agent,
      cli,
      row('run true through the SDK', 'ms', whole, agent),
      {
        ...row('run true through the SDK ', 'ms', whole, cli),
        name: 'run true through the SDK (vs runsc exec)',
      },
    ]
  },
}
