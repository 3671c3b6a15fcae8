import { spawnSync } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'

const folder = mkdtempSync(join(tmpdir(), 'atoll-tally-'))
const script = new URL('tally.ts', import.meta.url).pathname

const tally = (...args: string[]): { lines: string[]; status: number | null } => {
  const { stdout, status } = spawnSync(process.execPath, [script, ...args], { encoding: 'utf8' })
  return { lines: stdout.trim().split('\n'), status }
}
const file = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}

const cargo = `test a::b ... ok
test a::c ... ignored, needs kvm
test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out
`
const vitest = [
  { name: 'x works', state: 'passed', why: '' },
  { name: 'x elsewhere', state: 'skipped', why: 'needs kvm' },
]

describe('the tally', () => {
  it('sums all runners, says what was skipped, and ends with one line', () => {
    const { lines, status } = tally(
      `cargo:${file('cargo', cargo)}`,
      `vitest:${file('vitest', JSON.stringify(vitest))}`,
      'step:types:0',
    )
    expect(lines.at(-1)).toBe('7 passed, 0 failed, 2 skipped')
    expect(lines.join('\n')).toMatch(/a::c: needs kvm[^]*x elsewhere: needs kvm/)
    expect(status).toBe(0)
  })

  it('fails for a failed step, a failed test, a file that did not load, and a runner that said nothing', () => {
    expect(tally('step:types:2')).toMatchObject({ status: 1 })
    const unloadable = [{ name: 'y', state: 'failed', why: 'no such module' }]
    expect(tally('step:a:0', `vitest:${file('bad', JSON.stringify(unloadable))}`).lines.at(-1)).toBe(
      '1 passed, 1 failed, 0 skipped',
    )
    expect(tally('step:a:0', `vitest:${join(folder, 'absent')}`).status).toBe(1)
    expect(tally('step:a:0', `cargo:${file('died', 'error: could not compile')}`).status).toBe(1)
    expect(tally().status).toBe(1)
  })
})
