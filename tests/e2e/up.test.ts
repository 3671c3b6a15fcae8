import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { reapLeftovers } from '../stack/reap-leftovers.ts'
import { shareTemplates } from '../stack/share-templates.ts'
import { until } from './call.ts'
import { atollCommand, atollPath } from './command-line.ts'

/** What a person does on a new machine: up, run, a second up that is refused, down, up again. */
describe('atoll up', () => {
  const dataFolder = mkdtempSync('/tmp/atoll-')
  const home = join(dataFolder, 'home')
  const daemons: (() => Promise<unknown>)[] = []
  afterAll(async () => {
    await Promise.all(daemons.map((end) => end()))
    await reapLeftovers(dataFolder)
    rmSync(dataFolder, { recursive: true, force: true })
  })

  it('starts on loopback, shows a key once, refuses a second one, and takes its sandboxes up again', {
    timeout: 120_000,
  }, async () => {
    await shareTemplates(dataFolder)
    const port = await freePort()
    const first = await up(port)
    const config = join(home, '.config/atoll/config.json')
    expect(statSync(config).mode & 0o777).toBe(0o600)
    const { apiKey } = JSON.parse(readFileSync(config, 'utf8')) as { apiKey: string }
    expect(apiKey).toMatch(/^atoll_/)
    await until('it says what isolates', 30_000, () => (/gvisor/i.test(first.said()) ? true : undefined))
    // The saved config is all that the CLI needs.
    const plain = (argv: string[]) =>
      atollCommand({ url: '', apiKey: '', dataFolder }, argv, { env: { HOME: home } })
    const ran = await plain(['run', '--', 'sh', '-c', 'echo from inside; exit 5'])
    expect(ran, ran.stderr).toMatchObject({ code: 5, stdout: 'from inside\n' })
    const kept = await plain(['--json', 'sandbox', 'create', '--memory', '256M'])
    const { id } = JSON.parse(kept.stdout) as { id: string }

    const second = await up(await freePort()).catch((error: unknown) => String(error))
    expect(second).toMatch(/another|in use|lock|already|runs/i)

    expect(await first.end()).toBe(0)
    expect(first.said()).toMatch(/sandbox/i)
    const again = await up(port)
    await until('it says what isolates', 30_000, () => (/gvisor/i.test(again.said()) ? true : undefined))
    expect(again.said()).not.toContain(apiKey)
    expect(await plain(['sandbox', 'exec', id, '--', 'echo', 'still here'])).toMatchObject({
      code: 0,
      stdout: 'still here\n',
    })
    expect((await plain(['sandbox', 'delete', id])).code).toBe(0)
    expect(await again.end()).toBe(0)
  })

  const up = async (port: number) => {
    const child = spawn(atollPath, ['up', '--data', dataFolder, '--port', String(port)], {
      env: { PATH: process.env['PATH'], HOME: home, NO_COLOR: '1' },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (output += text))
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
    const end = () => {
      child.kill('SIGTERM')
      return ended
    }
    daemons.push(end)
    await until('it answers', 60_000, async () => {
      if (child.exitCode !== null) throw new Error(`up ended with ${child.exitCode}: ${output}`)
      return await fetch(`http://127.0.0.1:${port}/v1/health`).then(
        (answer) => (answer.ok ? true : undefined),
        () => undefined,
      )
    })
    return { said: () => output, end }
  }
})

const freePort = async (): Promise<number> => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('no free loopback port')
  return address.port
}
