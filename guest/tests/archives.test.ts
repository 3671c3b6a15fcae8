import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, chownSync, existsSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type RunningAgent, startAgent } from './agent.ts'

let agent: RunningAgent
let folder: string
let count = 0

beforeAll(async () => {
  agent = await startAgent()
  chmodSync(agent.folder, 0o755)
})
afterAll(() => agent[Symbol.asyncDispose]())
beforeEach(() => {
  count += 1
  folder = join(agent.folder, `case-${count}`)
  mkdirSync(folder)
  chmodSync(folder, 0o777)
})

describe('archives', () => {
  it('go in and out whole', async () => {
    mkdirSync(join(folder, 'in'))
    const deep = join(folder, 'in', ...Array(12).fill('a-long-folder-name'))
    mkdirSync(deep, { recursive: true })
    writeFileSync(join(deep, 'naïve.txt'), 'deep')
    writeFileSync(join(folder, 'in/big'), randomBytes(2_000_000), { mode: 0o755 })
    symlinkSync('big', join(folder, 'in/link'))
    const packed = await agent.call('GET', `/v1/tar?path=${folder}/in`)
    writeFileSync(join(folder, 'packed.tar'), packed.body)
    mkdirSync(join(folder, 'tar'))
    execFileSync('tar', ['xf', join(folder, 'packed.tar'), '-C', join(folder, 'tar')])
    execFileSync('diff', ['-r', join(folder, 'in'), join(folder, 'tar')])
    mkdirSync(join(folder, 'out'))
    chownSync(join(folder, 'out'), 1234, 1234)
    const unpacked = await agent.call('PUT', `/v1/tar?path=${folder}/out&user=1234:1234`, packed.body)
    expect(unpacked.json()).toEqual({ entries: 15, bytes: 2_000_004 })
    execFileSync('diff', ['-r', join(folder, 'in'), join(folder, 'out')])
    expect(statSync(join(folder, 'out/big'))).toMatchObject({ uid: 1234, gid: 1234 })
    expect(statSync(join(folder, 'out/big')).mode & 0o7777).toBe(0o755)
  })

  it("read what the system's tar writes", async () => {
    mkdirSync(join(folder, 'in'))
    writeFileSync(join(folder, 'in', 'n'.repeat(150)), 'x'.repeat(700))
    mkdirSync(join(folder, 'gnu'))
    mkdirSync(join(folder, 'pax'))
    for (const format of ['gnu', 'pax']) {
      const bytes = execFileSync('tar', [`--format=${format}`, '-C', join(folder, 'in'), '-cf', '-', '.'])
      const answer = await agent.call('PUT', `/v1/tar?path=${folder}/${format}`, bytes)
      expect(answer.status, answer.body.toString()).toBe(200)
      execFileSync('diff', ['-r', join(folder, 'in'), join(folder, format)])
    }
  })

  it('cannot write outside', async () => {
    mkdirSync(join(folder, 'out'))
    mkdirSync(join(folder, 'evil'))
    symlinkSync(folder, join(folder, 'evil/l'))
    const first = execFileSync('tar', ['-C', join(folder, 'evil'), '-cf', '-', 'l'])
    writeFileSync(join(folder, 'evil/pwned'), 'x')
    const second = execFileSync('tar', [
      '-C',
      join(folder, 'evil'),
      '--transform=s,^,l/,',
      '-cf',
      '-',
      'pwned',
    ])
    expect((await agent.call('PUT', `/v1/tar?path=${folder}/out`, first)).status).toBe(200)
    const answer = await agent.call('PUT', `/v1/tar?path=${folder}/out`, second)
    expect(answer.json().code).toBe('not_a_directory')
    expect(existsSync(join(folder, 'pwned'))).toBe(false)
    const cut = await agent.call('PUT', `/v1/tar?path=${folder}/out`, second.subarray(0, 700))
    expect(cut.json().code).toBe('not_a_directory')
    const garbage = await agent.call('PUT', `/v1/tar?path=${folder}/out`, Buffer.alloc(1_024, 'x'))
    expect(garbage.json().code).toBe('image_invalid')
  })
})
