import type { ErrorBody, RunResult, Sandbox } from '@atoll/protocol'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Answer, call, until } from './call.ts'
import { type Drill, livingSandboxes, randomFrom, small, startDrill } from './drill.ts'
import { killExactly } from './host-processes.ts'
import { launchersOf, machineParts } from './machine-parts.ts'

const full = process.env['ATOLL_DRILL_FULL'] === '1'
const cycles = full ? 200 : 40
/** Cycles under way at once, which share the fate of one daemon. */
const batch = 4
/** Longest time that a batch is taken to last, ms. */
const maxBatchMs = 5_000
const seed = Number(process.env['ATOLL_DRILL_SEED'] ?? Math.floor(Math.random() * 2 ** 31))

/** What is killed while a batch runs. Each may hit any cycle at any of its steps. */
const blows = ['nothing', 'nothing', 'daemon', 'shim', 'spare', 'runtime', 'launcher'] as const

/** Codes by which an answer may own up to a blow. Anything else, and every wrong result, is a failure. */
const honest =
  /^(sandbox_ended|guest_unreachable|stream_broken|internal|canceled|node_unreachable|overloaded|process_not_found)$/

describe(`${cycles} cycles of create, exec, delete under kill -9`, () => {
  let drill: Drill
  beforeAll(async () => {
    drill = await startDrill()
  })
  afterAll(() => drill?.[Symbol.asyncDispose]())

  it('answer the right result or a typed error, and leave nothing', {
    timeout: cycles * 10_000,
  }, async () => {
    console.log(
      `churn: seed ${seed} (ATOLL_DRILL_SEED repeats it), ${cycles} cycles${full ? '' : '; ATOLL_DRILL_FULL=1 runs 200'}`,
    )
    const random = randomFrom(seed)
    const counts = { right: 0, refused: 0, blows: {} as Record<string, number> }
    // A blow falls at a random part of the time that the batch before took.
    let batchMs = 1_500
    for (let done = 0; done < cycles; done += batch) {
      const blow = blows[Math.floor(random() * blows.length)]!
      const afterMs = Math.floor(random() * batchMs)
      const start = performance.now()
      counts.blows[blow] = (counts.blows[blow] ?? 0) + 1
      const numbers = Array.from({ length: batch }, (_, index) => done + index)
      const running = Promise.all(
        numbers.map((number) => cycle(number, random() < 0.3 ? 'container' : 'gvisor')),
      )
      const striking = strike(blow, afterMs, random)
      const outcomes = await running
      if (blow === 'nothing') batchMs = Math.min(performance.now() - start, maxBatchMs)
      await striking
      for (const outcome of outcomes) counts[outcome]++
      // Whatever a blow left half-way is deleted as a client would do it, and that must work (invariant 4).
      for (const id of await livingSandboxes(drill.stack)) {
        const answer = await patiently(() => call<ErrorBody>(drill.stack, 'DELETE', `/v1/sandboxes/${id}`))
        expect(answer, `delete of what a ${blow} kill left`).toMatchObject({ status: 200 })
      }
    }
    console.log(`churn: ${JSON.stringify(counts)}`)
    expect(counts.right + counts.refused).toBe(cycles)
    expect(counts.right).toBeGreaterThan(cycles / 3)
    expect(await drill.difference(), `seed ${seed}`).toEqual({})
  })

  const cycle = async (number: number, runtime: string): Promise<'right' | 'refused'> => {
    const { stack } = drill
    const created = await patiently(() =>
      call<Sandbox & ErrorBody>(stack, 'POST', '/v1/sandboxes', {
        body: { runtime, limits: small, labels: { cycle: String(number) } },
        idempotencyKey: `churn-${seed}-${number}`,
      }),
    )
    if (!owned(created, 'create')) return 'refused'
    const path = `/v1/sandboxes/${created.body.id}`
    const ran = await patiently(() =>
      call<RunResult & ErrorBody>(stack, 'POST', `${path}/processes?wait=1`, {
        body: { id: 'only', shell: `echo ${number} >> /tmp/n; cat /tmp/n; exit ${number % 100}` },
      }),
    )
    if (owned(ran, 'exec')) {
      expect(ran.body.exit).toMatchObject({ code: number % 100, signal: null })
      expect(ran.body.stdout).toBe(`${number}\n`)
    }
    const deleted = await patiently(() => call<ErrorBody>(stack, 'DELETE', path))
    expect(deleted, `delete of cycle ${number}`).toMatchObject({ status: 200 })
    return ran.status === 200 ? 'right' : 'refused'
  }

  const owned = (answer: Answer<ErrorBody>, act: string): boolean => {
    if (answer.status < 300) return true
    expect(answer.body.code, `${act} answered ${JSON.stringify(answer.body)}`).toMatch(honest)
    return false
  }

  /** A client that tries again while nobody listens, as the SDK does: the key makes it happen once. */
  const patiently = <Body>(send: () => Promise<Answer<Body>>): Promise<Answer<Body>> =>
    until('the daemon answers', 60_000, () => send().catch(() => undefined))

  const strike = async (
    blow: (typeof blows)[number],
    afterMs: number,
    random: () => number,
  ): Promise<void> => {
    const { stack } = drill
    await new Promise((resolve) => setTimeout(resolve, afterMs))
    if (blow === 'nothing') return
    if (blow === 'daemon') {
      await stack.crash()
      await stack.restart()
      return
    }
    if (blow === 'launcher') {
      const [launcher] = launchersOf(stack)
      if (launcher !== undefined) killExactly(launcher)
      return
    }
    const living = await livingSandboxes(stack)
    const id = living[Math.floor(random() * living.length)]
    if (id === undefined) return
    const parts = await machineParts(stack, id, 500).catch(() => undefined)
    // It may have ended by itself in between: that is nobody's fault.
    if (parts !== undefined) killExactly(parts[blow])
  }
})
