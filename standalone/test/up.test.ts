import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Atoll } from '@atoll/sdk'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url))
let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'atoll-up-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const start = (...args: string[]) => {
  const child = spawn(process.execPath, [main, ...args], {
    env: { ...process.env, XDG_CONFIG_HOME: join(folder, 'config') },
  })
  const said = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (text: string) => (said[name] += text))
  const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, ...said }))
  return { child, said, ended }
}

const up = async (...args: string[]) => {
  const daemon = start('up', '--simulated', '--data', join(folder, 'data'), '--port', '0', ...args)
  await Promise.race([once(daemon.child.stdout, 'data'), daemon.ended])
  return daemon
}

const config = (): { url: string; apiKey: string } =>
  JSON.parse(readFileSync(join(folder, 'config/atoll/config.json'), 'utf8')) as {
    url: string
    apiKey: string
  }

describe('atoll up', () => {
  it('shows the first key once, saves it for the CLI, and ends in order', async () => {
    const first = await up()
    const { url, apiKey } = config()
    expect(first.said.stdout).toContain(apiKey)
    expect(first.said.stdout).toMatch(/Isolation in force: simulated \(none\)|No isolation/)
    expect(statSync(join(folder, 'config/atoll/config.json')).mode & 0o777).toBe(0o600)
    const sandbox = await new Atoll({ baseUrl: url, apiKey }).sandboxes.create({ runtime: 'simulated' })
    expect((await sandbox.run(['echo', 'hi'])).stdout).toBe('hi\n')
    await sandbox.delete()
    first.child.kill('SIGTERM')
    const { code, stderr } = await first.ended
    expect(code).toBe(0)
    expect(stderr).toContain('Stopped')
    expect(readFileSync(join(folder, 'data/daemon.log'), 'utf8')).not.toContain(apiKey)

    const second = await up('--json')
    expect(JSON.parse(second.said.stdout)).toMatchObject({ apiKey: null })
    expect(config().apiKey).toBe(apiKey)
    expect(await new Atoll({ baseUrl: config().url, apiKey }).health()).toBe(true)
    second.child.kill('SIGINT')
    expect((await second.ended).code).toBe(0)
  })

  it('refuses a folder that another daemon has, and names it', async () => {
    const first = await up()
    const { code, stderr } = await start('up', '--simulated', '--data', join(folder, 'data'), '--port', '0')
      .ended
    expect([code, stderr]).toEqual([125, expect.stringContaining(`pid ${first.child.pid}`)])
    first.child.kill('SIGTERM')
    await first.ended
  })

  it('refuses a path that is too long, and words that it does not know', async () => {
    const long = join(folder, 'x'.repeat(60))
    expect((await start('up', '--simulated', '--data', long).ended).stderr).toMatch(/at most 50/)
    expect(await start('up', '--frobnicate').ended).toMatchObject({ code: 125 })
    expect(await start('down').ended).toMatchObject({ code: 125 })
  })
})
