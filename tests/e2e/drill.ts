import { join } from 'node:path'
import { startStack, type Stack, type StackOptions } from '../stack/start-stack.ts'
import { machinesEver, savedImages } from './state/machine-of.ts'
import { call, expectStatus } from './call.ts'
import { type HostTraces, settledDifference, takeTraces } from './host-traces.ts'

/** What a drill asks for when size does not matter: small, so that fifty fit. */
export const small = { cpuMillis: 1_000, memoryMib: 256, diskMib: 256 } as const

/** The real runtimes. What differs between them is never hidden: each drill names its own. */
export const realRuntimes = ['gvisor', 'container'] as const

/** A stack whose leaks are counted: what the drill made is known by id. */
export interface Drill extends AsyncDisposable {
  readonly stack: Stack
  /** Ids of all sandboxes that control has ever known in this stack. */
  readonly made: Set<string>
  /** Deletes what a drill that failed has left, so that the next one fails for its own reasons only. */
  clean(): Promise<void>
  /** What has come or gone on the host since the drill began; `{}` is zero difference. */
  difference(): Promise<Record<string, string[]>>
}

/** Starts a stack and takes stock of the host before the first sandbox. */
export const startDrill = async (options: StackOptions = {}): Promise<Drill> => {
  // What waits for a create has no owner: a difference of the host would count it. state/pool.test.ts looks after it.
  const stack = await startStack({ ...options, args: ['--pool', '0', ...(options.args ?? [])] })
  await untilProbed(stack)
  const made = new Set<string>()
  const take = (): HostTraces => {
    const traces = takeTraces({ dataFolder: stack.dataFolder, daemonPid: stack.pid, sandboxes: made })
    // A template's saved state is made at its first use and kept, like its image.
    const kept = savedImages(stack).flatMap(({ owner, digest }) =>
      owner === 'template' ? [join('snapshots', digest)] : [],
    )
    return {
      ...traces,
      files: traces.files.filter((path) => !kept.some((folder) => path.startsWith(folder))),
    }
  }
  const before = take()
  return {
    stack,
    made,
    difference: async () => {
      for (const id of [...(await allSandboxes(stack)), ...machinesEver(stack)]) made.add(id)
      return await settledDifference(before, take)
    },
    clean: async () => {
      for (const id of await livingSandboxes(stack)) {
        made.add(id)
        await call(stack, 'DELETE', `/v1/sandboxes/${id}`)
      }
    },
    [Symbol.asyncDispose]: () => stack[Symbol.asyncDispose](),
  }
}

/** Ids of every sandbox that control knows; a list shows ended ones only when asked. */
export const allSandboxes = async (stack: Stack): Promise<string[]> => [
  ...(await livingSandboxes(stack)),
  ...(await listed(stack, { state: 'ended' })),
]

/** Ids of the sandboxes that have not ended. */
export const livingSandboxes = (stack: Stack): Promise<string[]> => listed(stack, {})

const listed = async (stack: Stack, filter: Record<string, string>): Promise<string[]> => {
  const ids: string[] = []
  let cursor: string | null | undefined
  do {
    const query = new URLSearchParams({ limit: '500', ...filter, ...(cursor ? { cursor } : {}) })
    const page = expectStatus(
      await call<{ sandboxes: { id: string }[]; nextCursor: string | null }>(
        stack,
        'GET',
        `/v1/sandboxes?${query.toString()}`,
      ),
      [200],
      'list sandboxes',
    )
    ids.push(...page.sandboxes.map(({ id }) => id))
    cursor = page.nextCursor
  } while (cursor)
  return ids
}

/** The runtimes are probed by booting one each: that must be over before the host is counted. */
export const untilProbed = async (stack: Stack): Promise<void> => {
  expectStatus(
    await call(stack, 'GET', '/v1/node', { signal: AbortSignal.timeout(90_000) }),
    [200],
    'ask which isolation is in force',
  )
}

/** Numbers from a seed, so that a failing run can be repeated: mulberry32. */
export const randomFrom = (seed: number): (() => number) => {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
