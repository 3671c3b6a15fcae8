import { AtollError } from '@atoll/sdk'
import { describe, expect, it } from 'vitest'
import { codeOfError, codeOfExit } from './exit-code.ts'

const exit = {
  code: null,
  signal: null,
  timedOut: false,
  killed: false,
  oom: false,
  limits: [],
  survivorsKilled: 0,
  survivorsKept: 0,
  durationMs: 0,
  cpuMs: 0,
  peakMemoryBytes: 0,
  endedAtMs: 0,
}

describe('exit codes', () => {
  it('are those of the command, and 128 + n for signals, and 124 for the deadline', () => {
    expect(codeOfExit({ ...exit, code: 0 })).toBe(0)
    expect(codeOfExit({ ...exit, code: 42 })).toBe(42)
    expect(codeOfExit({ ...exit, signal: 'SIGKILL' })).toBe(137)
    expect(codeOfExit({ ...exit, signal: 'SIGTERM' })).toBe(143)
    expect(codeOfExit({ ...exit, signal: 'SIGKILL', timedOut: true })).toBe(124)
    expect(codeOfExit({ ...exit, signal: 'SIGRTMIN+3' })).toBe(125)
  })

  it('tell a missing program from one that cannot be run, and both from our own failures', () => {
    expect(
      codeOfError(new AtollError('exec_failed', 'cannot start x', { details: { errno: 'ENOENT' } })),
    ).toBe(127)
    expect(codeOfError(new AtollError('exec_failed', 'cannot start x: permission denied'))).toBe(126)
    expect(codeOfError(new AtollError('deadline_client', 'late'))).toBe(124)
    expect(codeOfError(new AtollError('canceled', 'interrupted'))).toBe(130)
    expect(codeOfError(new AtollError('not_found', 'no'))).toBe(125)
    expect(codeOfError(new Error('a bug'))).toBe(125)
  })
})
