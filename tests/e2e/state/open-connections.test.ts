import type { ErrorBody, Lifecycle } from '@atoll/protocol'
import type { Sandbox } from '@atoll/sdk'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startStack, type Stack } from '../../stack/start-stack.ts'
import { call, open } from '../call.ts'

const limits = { memoryMib: 256, diskMib: 256 }
/** Longest until an open stream must have ended after the pause's answer, ms. */
const droppedWithinMs = 10_000

const within = async <Value>(what: string, work: Promise<Value>): Promise<Value> => {
  const { promise, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(
    () => reject(new Error(`${what} was left hanging for ${droppedWithinMs} ms`)),
    droppedWithinMs,
  )
  return await Promise.race([work, promise]).finally(() => clearTimeout(timer))
}

/** A pause on disk ends what is open, says why, and wakes nothing by that. */
describe('what is open when a sandbox is stored', () => {
  let stack: Stack
  let sandbox: Sandbox
  beforeAll(async () => {
    stack = await startStack()
    sandbox = await stack.atoll.sandboxes.create({ runtime: 'gvisor', limits })
  }, 120_000)
  afterAll(() => stack?.[Symbol.asyncDispose]())

  it('a run ends with state_conflict, and its process goes on after the resume', async () => {
    const running = sandbox.run('i=0; while test $i -lt 400; do i=$((i+1)); echo $i; sleep 0.05; done', {
      id: 'counts',
    })
    running.catch(() => undefined)
    await sandbox.run('sleep 1')
    await sandbox.pause()
    const error = await within(
      'the run',
      running.then(
        () => undefined,
        (thrown: unknown) => thrown,
      ),
    )
    expect(error).toMatchObject({ code: 'state_conflict', sandboxState: 'paused' })
    expect((await sandbox.refresh()).state).toBe('paused')
    await sandbox.resume()
    let text = ''
    for await (const event of sandbox.process('counts').output({ offset: 0 }))
      if (event.type === 'stdout') text += Buffer.from(event.data).toString()
    expect(text).toBe(Array.from({ length: 400 }, (_, at) => `${at + 1}\n`).join(''))
  }, 90_000)

  it('a terminal and a download end, and it stays paused', async () => {
    await sandbox.run('head -c 200000000 /dev/zero > /tmp/big')
    const terminal = await sandbox.pty({ onData: () => undefined })
    const exited = terminal.exited.catch((error: unknown) => error)
    const download = await open(stack, 'GET', `/v1/sandboxes/${sandbox.id}/files?path=/tmp/big`)
    const reader = download.body!.getReader()
    await reader.read()
    await sandbox.pause()
    const error = await within('the terminal', exited)
    expect(error).toMatchObject({ code: 'state_conflict', sandboxState: 'paused' })
    const whole = async (): Promise<number> => {
      let bytes = 0
      for (let part = await reader.read(); part.done !== true; part = await reader.read())
        bytes += part.value.length
      return bytes
    }
    // Cut, never short: an answer that ends well has all of it.
    await expect(within('the download', whole())).rejects.toThrow(/terminated|aborted|closed/)
    expect((await sandbox.refresh()).state).toBe('paused')
  }, 90_000)

  it('looking at it wakes nothing, and the lifecycle says how it rests', async () => {
    await sandbox.refresh()
    for await (const _ of stack.atoll.sandboxes.list());
    const lifecycle = await sandbox.lifecycle()
    expect(lifecycle).toMatchObject({ state: 'paused', holders: [] } satisfies Partial<Lifecycle>)
    expect(lifecycle.explanation).toMatch(/paused|disk|stored/)
    expect(sandbox.depth).toBe('stored')
  })

  it('without autoResume every call is refused with the way out', async () => {
    await sandbox.setLease({ autoResume: false })
    const refused = await call<ErrorBody>(stack, 'GET', `/v1/sandboxes/${sandbox.id}/processes`)
    expect(refused).toMatchObject({ status: 409, body: { code: 'state_conflict', sandboxState: 'paused' } })
    expect(`${refused.body.message} ${refused.body.remedy}`).toContain('resume')
    expect((await sandbox.refresh()).state).toBe('paused')
  })
})
