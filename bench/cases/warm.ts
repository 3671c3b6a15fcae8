import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Atoll, type Sandbox } from '@atoll/sdk'
import { type Benchmark, interleaved, row, timed } from '../measure.ts'

const execute = promisify(execFile)
const root = join(import.meta.dirname, '../..')
/** Between two creates: the pool's time to follow. */
const refillMs = 700
const loaded = `
import numpy, pandas, time
data = pandas.DataFrame(numpy.random.rand(1_000_000, 4), columns=list("abcd"))
open('/tmp/ready', 'w').write('yes')
while True: time.sleep(3600)
`

/** Dependencies in the template, or loaded in a snapshot's memory, must not cost a start. */
export const warm: Benchmark = {
  name: 'warm',
  about: 'create to the end of `true`: template base, one with numpy and pandas, a snapshot with both loaded',
  pool: 3,
  async run({ url, apiKey, samples, log }) {
    const atoll = new Atoll({ baseUrl: url, apiKey })
    await buildTemplate(url, apiKey, log)
    await using holder = await atoll.sandboxes.create({
      runtime: 'gvisor',
      template: 'warm',
      limits: { memoryMib: 1_024 },
    })
    const cold = await timed(() => holder.run(['python3', '-c', 'import pandas'], { timeoutMs: 120_000 }))
    await holder.start(['python3', '-c', loaded])
    while ((await holder.run(['cat', '/tmp/ready'])).stdout !== 'yes') await sleep(200)
    const snapshot = await holder.snapshot({ kind: 'memory' })
    const from = async (create: () => Promise<Sandbox>): Promise<number> => {
      await sleep(refillMs)
      const start = performance.now()
      const sandbox = await create()
      await sandbox.run(['true'])
      const took = performance.now() - start
      await sandbox.delete()
      return took
    }
    const [base = [], template = [], memory = []] = await interleaved(samples, [
      () => from(() => atoll.sandboxes.create({ runtime: 'gvisor' })),
      () => from(() => atoll.sandboxes.create({ runtime: 'gvisor', template: 'warm' })),
      () => from(() => atoll.sandboxes.create({ runtime: 'gvisor', snapshot: snapshot.id })),
    ])
    const baseline = row('from base', 'ms', base)
    return [
      baseline,
      row('from a template with numpy and pandas', 'ms', template, baseline),
      row('from a snapshot with both loaded and a data set', 'ms', memory, baseline),
      row('import pandas in a new Python, once', 'ms', [cold]),
    ]
  },
}

/** Wheels come in by a copy: builds have no network. */
const buildTemplate = async (url: string, apiKey: string, log: (line: string) => void): Promise<void> => {
  const context = await mkdtemp('/tmp/atoll-wheels-')
  try {
    log('downloading numpy and pandas, building a template with them')
    const wanted = ['--only-binary=:all:', '--python-version=3.11', '--platform=manylinux2014_x86_64']
    await execute('pip', ['download', '-q', ...wanted, '-d', join(context, 'wheels'), 'numpy', 'pandas'])
    await execute(
      join(root, 'clients/cli/atoll'),
      [
        'template',
        'build',
        'warm',
        '--context',
        context,
        '--copy',
        'wheels:/opt/wheels',
        '--run',
        'pip install --no-index --find-links=/opt/wheels --break-system-packages numpy pandas',
      ],
      { env: { ...process.env, ATOLL_URL: url, ATOLL_API_KEY: apiKey } },
    )
  } finally {
    await rm(context, { recursive: true, force: true })
  }
}
