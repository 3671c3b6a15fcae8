import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { startStack } from '../tests/stack/start-stack.ts'
import { createNode } from './cases/create-node.ts'
import { execTrue } from './cases/exec-true.ts'
import { files } from './cases/files.ts'
import { memory } from './cases/memory.ts'
import type { Benchmark, Row } from './measure.ts'
import { table } from './report.ts'

const benchmarks: readonly Benchmark[] = [createNode, execTrue, files, memory]
const defaultSamples = 20

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

const rows: Row[] = []
await using stack = await startStack()
for (const benchmark of chosen) {
  console.error(`# ${benchmark.name}: ${benchmark.about}`)
  rows.push(
    ...(await benchmark.run({
      url: stack.url,
      apiKey: stack.apiKey,
      dataFolder: stack.dataFolder,
      pid: stack.pid,
      samples: Number(values.samples ?? defaultSamples),
      log: (line) => console.error(line),
    })),
  )
}
console.log(table(rows))
if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(rows, null, 2)}\n`)
