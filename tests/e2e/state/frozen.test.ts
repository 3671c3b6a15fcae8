import { setTimeout as delay } from 'node:timers/promises'
import type { Sandbox } from '@atoll/sdk'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startStack, type Stack } from '../../stack/start-stack.ts'

const limits = { memoryMib: 256, diskMib: 256 }
/** Longer than a ping of the guest and its answer may take: silence of a frozen one is no fault, ms. */
const frozenMs = 14_000

describe('what is open when a sandbox is frozen', () => {
  let stack: Stack
  let sandbox: Sandbox
  beforeAll(async () => {
    stack = await startStack({ args: ['--pool', '0'] })
    sandbox = await stack.atoll.sandboxes.create({ runtime: 'gvisor', limits, autoResume: false })
  }, 120_000)
  afterAll(() => stack?.[Symbol.asyncDispose]())

  it('goes on where it was, and nobody takes its silence for a fault', async () => {
    const counting = await sandbox.start('for i in 1 2 3 4 5 6; do echo $i; sleep 0.5; done', {
      id: 'counts',
    })
    let text = ''
    const firstLines = Promise.withResolvers<void>()
    const followed = (async () => {
      for await (const event of counting.output()) {
        if (event.type !== 'stdout') continue
        text += Buffer.from(event.data).toString()
        if (text.includes('2\n')) firstLines.resolve()
      }
    })()
    await firstLines.promise
    await sandbox.pause({ depth: 'frozen' })
    const before = text
    await delay(frozenMs)
    expect(text).toBe(before)
    const paused = await sandbox.refresh()
    expect(paused).toMatchObject({ state: 'paused', depth: 'frozen' })
    await sandbox.resume()
    await followed
    expect(text).toBe('1\n2\n3\n4\n5\n6\n')
    expect((await counting.info()).exit).toMatchObject({ code: 0 })
    const types: string[] = []
    for await (const event of sandbox.events()) {
      types.push(event.type)
      if (event.type === 'node.resumed') break
    }
    expect(types).toContain('node.paused')
    expect(types).not.toContain('node.guest_unreachable')
  }, 60_000)
})
