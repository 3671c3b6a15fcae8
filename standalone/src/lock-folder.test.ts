import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { lockFolder, runningDaemon } from './lock-folder.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'atoll-lock-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const holder = async () => {
  const script = `const { lockFolder } = await import(${JSON.stringify(new URL('lock-folder.ts', import.meta.url).href)})
const lock = lockFolder(${JSON.stringify(folder)}); lock.announce('http://there'); console.log('held'); setInterval(() => lock, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(child.stdout, 'data')
  return child
}

describe('the lock of a data folder', () => {
  it('lets one in, and names who that is', async () => {
    const child = await holder()
    expect(() => lockFolder(folder)).toThrow(new RegExp(`pid ${child.pid} at http://there`))
    expect(runningDaemon(folder)).toMatchObject({ pid: child.pid })
    child.kill('SIGKILL')
    await once(child, 'exit')
  })

  it('is free at once when its holder is killed', async () => {
    const child = await holder()
    child.kill('SIGKILL')
    await once(child, 'exit')
    using lock = lockFolder(folder)
    lock.announce('http://here')
    expect(runningDaemon(folder)).toMatchObject({ pid: process.pid, url: 'http://here' })
  })

  it('is not let in twice by the same process either', () => {
    using _lock = lockFolder(folder)
    expect(() => lockFolder(folder)).toThrow(/cannot start/)
  })

  it('does not take another process with the same pid for the daemon', () => {
    writeFileSync(join(folder, 'daemon.json'), JSON.stringify({ pid: process.pid, startTime: 1, url: 'x' }))
    expect(runningDaemon(folder)).toBeUndefined()
  })
})
