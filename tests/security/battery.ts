import type { Sandbox } from '@atoll/sdk'
import { afterAll, beforeAll, beforeEach, describe } from 'vitest'
import { type Stack, startStack } from '../stack/start-stack.ts'

/** The runtimes that hold hostile code; `simulated` holds nothing and is not attacked. */
export const realRuntimes = ['gvisor', 'container'] as const
export type RealRuntime = (typeof realRuntimes)[number]

/** What a sandbox of the battery is, where a case does not say otherwise. */
const defaults = { template: 'base', timeoutMs: 600_000 } as const
const startTimeoutMs = 180_000

export type CreateBox = Parameters<Stack['atoll']['sandboxes']['create']>[0]

export interface Ground {
  readonly runtime: RealRuntime
  /** One stack for the file, shared by its runtimes. */
  readonly stack: () => Stack
  /** A sandbox of this runtime; the battery deletes it at the end of the file. */
  readonly create: (options?: CreateBox) => Promise<Sandbox>
}

/** Runs a group of attacks on every real runtime; one that this host lacks is skipped loudly, with its reason. */
export const attackEach = (group: string, body: (ground: Ground) => void): void => {
  const held: { stack?: Stack } = {}
  const made: Sandbox[] = []
  beforeAll(async () => {
    held.stack = await startStack({ env: plantedSecret.env })
  }, startTimeoutMs)
  afterAll(async () => {
    await Promise.allSettled(made.map((sandbox) => sandbox.delete()))
    await held.stack?.[Symbol.asyncDispose]()
  }, startTimeoutMs)
  const stack = (): Stack => {
    if (held.stack === undefined) throw new Error('the stack of this file did not start')
    return held.stack
  }
  describe.each(realRuntimes)(`${group} on %s`, (runtime) => {
    let missing: string | undefined
    beforeAll(async () => {
      const found = (await stack().atoll.node()).runtimes.find((one) => one.runtime === runtime)
      if (found?.available === true) return
      missing = `${runtime} is not available here: ${found?.reason ?? 'no such driver'}`
      console.warn(`SKIPPED: ${group} on ${runtime}: ${missing}`)
    }, startTimeoutMs)
    beforeEach((context) => context.skip(missing !== undefined, missing))
    const create = async (options: CreateBox = {}): Promise<Sandbox> => {
      const sandbox = await stack().atoll.sandboxes.create({ ...defaults, runtime, ...options })
      made.push(sandbox)
      return sandbox
    }
    body({ runtime, stack, create })
  })
}

/** A secret in the daemon's environment: it must be found nowhere inside (invariant 7). */
export const plantedSecret = {
  name: 'ATOLL_TEST_PLANTED',
  value: `planted-${process.pid}-7f3a9c51`,
  get env() {
    return { [this.name]: this.value }
  },
} as const
