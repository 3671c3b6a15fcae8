import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { beforeAll, describe, expect, it } from 'vitest'
import { exitOf, json, ndjson, out, processRecord, sandboxRecord, scriptedServer } from './scripted-server.ts'

const run = promisify(execFile)
const folder = fileURLToPath(new URL('..', import.meta.url))
const program = `
import { Atoll, isAtollError, Sandbox } from ${JSON.stringify(join(folder, 'dist/index.js'))}
const sandbox = await Sandbox.connect('sbx_x')
const { stdout, exit } = await sandbox.run(['echo', 'hello'])
const error = await new Atoll({ baseUrl: 'http://127.0.0.1:9', retries: 0 }).health().catch((caught) => caught)
console.log(JSON.stringify({ stdout, code: exit.code, refused: isAtollError(error, 'node_unreachable'), node: process.version }))
`

/** The machine's own Node, which may be older than ours and runs no TypeScript. */
const ownNode = (process.env['PATH'] ?? '')
  .split(delimiter)
  .filter((part) => !part.includes('node_modules'))
  .map((part) => join(part, 'node'))
  .find((path) => existsSync(path))

const runOn = async (
  node: string,
): Promise<{ stdout: string; code: number; refused: boolean; node: string }> => {
  await using server = await scriptedServer([
    json(200, sandboxRecord),
    ndjson([
      { type: 'started', process: processRecord },
      out('stdout', 0, 'hello\n'),
      { type: 'exit', exit: exitOf(0) },
    ]),
  ])
  const env = { ATOLL_URL: server.atoll.connection.settings.baseUrl, ATOLL_API_KEY: 'k' }
  const { stdout } = await run(node, ['--input-type=module', '-e', program], { env })
  return JSON.parse(stdout) as Awaited<ReturnType<typeof runOn>>
}

describe('the built file', () => {
  beforeAll(() => run(process.execPath, ['../../scripts/build-sdk.ts'], { cwd: folder }))

  it('runs on the Node of this repository', async () => {
    expect(await runOn(process.execPath)).toMatchObject({ stdout: 'hello\n', code: 0, refused: true })
  })

  it('runs on the Node of this machine', async (context) => {
    if (ownNode === undefined) return context.skip('this machine has no Node of its own in PATH')
    expect(await runOn(ownNode)).toMatchObject({ stdout: 'hello\n', code: 0, refused: true })
  })

  it('has declarations that stand alone', async () => {
    const { readFile, readdir } = await import('node:fs/promises')
    const types = join(folder, 'dist/types')
    const names = (await readdir(types, { recursive: true })).filter((name) => name.endsWith('.d.ts'))
    expect(names).toContain('clients/sdk/src/atoll.d.ts')
    for (const name of names) expect(await readFile(join(types, name), 'utf8')).not.toContain('@atoll/')
  })
})
