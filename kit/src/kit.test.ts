import { describe, expect, it, vi } from 'vitest'
import { atTime, backoffMs, semaphore } from './index.ts'

describe('atTime', () => {
  it('fires at a time that setTimeout alone would take as now', () => {
    vi.useFakeTimers({ now: 0 })
    const fired = vi.fn()
    using _timer = atTime(2 ** 31 + 5_000, Date.now, fired)
    vi.advanceTimersByTime(2 ** 31)
    expect(fired).not.toHaveBeenCalled()
    vi.advanceTimersByTime(5_000)
    expect(fired).toHaveBeenCalledOnce()
    vi.useRealTimers()
  })
})

describe('backoffMs', () => {
  it('grows to its limit and no further', () => {
    const policy = { firstMs: 10, maxMs: 100, factor: 2 }
    expect([0, 1, 2, 9].map((attempt) => backoffMs(policy, attempt, 0.999_999))).toEqual([10, 20, 40, 100])
    expect(backoffMs(policy, 9, 0)).toBe(0)
  })
})

describe('semaphore', () => {
  it('lets few in, lets few wait, and refuses the rest', async () => {
    const gate = semaphore(1, 1)
    const first = await gate.enter()
    const second = gate.enter()
    expect(await gate.enter()).toBeUndefined()
    first?.[Symbol.dispose]()
    first?.[Symbol.dispose]()
    const held = await second
    expect(held).toBeDefined()
    const third = gate.enter()
    expect(gate.waiting).toBe(1)
    held?.[Symbol.dispose]()
    expect(await third).toBeDefined()
  })

  it('lets a waiter leave', async () => {
    const gate = semaphore(1, 1)
    await gate.enter()
    const leave = new AbortController()
    const waiting = gate.enter(leave.signal)
    leave.abort(new Error('gone'))
    await expect(waiting).rejects.toThrow('gone')
    expect(gate.waiting).toBe(0)
  })
})
