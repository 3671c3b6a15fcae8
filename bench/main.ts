import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { startStack } from '../tests/stack/start-stack.ts'
import { burst } from './cases/burst.ts'
import { createEmpty } from './cases/create-empty.ts'
import { createNode } from './cases/create-node.ts'
import { execTrue } from './cases/exec-true.ts'
import { files } from './cases/files.ts'
import { fork } from './cases/fork.ts'
import { idle } from './cases/idle.ts'
import { memory } from './cases/memory.ts'
import { pause } from './cases/pause.ts'
import { warm } from './cases/warm.ts'
import type { Benchmark, Row } from './measure.ts'
import { plot } from './plot.ts'
import { table } from './report.ts'

const benchmarks: readonly Benchmark[] = [
  createNode,
  createEmpty,
  burst,
  fork,
  pause,
  warm,
  execTrue,
  files,
  memory,
  idle,
]
const defaultSamples = 20
/** One picture per benchmark. */
const resultsFolder = join(import.meta.dirname, 'results')

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'string' }, samples: { type: 'string' }, list: { type: 'boolean' } },
})

const chosen =
  positionals.length === 0 ? benchmarks : benchmarks.filter(({ name }) => positionals.includes(name))
const unknown = positionals.filter((name) => !benchmarks.some((benchmark) => benchmark.name === name))
if (unknown.length > 0) {
  console.error(
    `cannot run benchmark ${unknown.join(', ')}: there is none; known: ${benchmarks.map(({ name }) => name).join(', ')}`,
  )
  process.exit(2)
}
if (values.list === true) {
  for (const { name, about } of benchmarks) console.log(`${name.padEnd(8)} ${about}`)
  process.exit(0)
}

/** A stack of its own for each, so that none pays for what another left. */
const measured = async (benchmark: Benchmark): Promise<readonly Row[]> => {
  console.error(`# ${benchmark.name}: ${benchmark.about}`)
  await using stack = await startStack({
    args: benchmark.pool === undefined ? [] : ['--pool', String(benchmark.pool)],
  })
  return await benchmark.run({
    url: stack.url,
    apiKey: stack.apiKey,
    dataFolder: stack.dataFolder,
    pid: stack.pid,
    samples: Number(values.samples ?? defaultSamples),
    log: (line) => console.error(line),
  })
}

const rows: Row[] = []
await mkdir(resultsFolder, { recursive: true })
for (const benchmark of chosen) {
  const found = await measured(benchmark)
  rows.push(...found)
  await writeFile(join(resultsFolder, `${benchmark.name}.svg`), plot(benchmark.about, found))
}
console.log(table(rows))
if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(rows, null, 2)}\n`)
