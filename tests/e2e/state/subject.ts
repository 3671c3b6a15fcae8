import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { makeId, type PauseDepth, type SnapshotKind } from '@atoll/protocol'
import { heldInMemory, holdInMemory, readIn, writeIn } from '../../../node/src/machines/test-memory.ts'
import { testNode, testSpec } from '../../../node/src/machines/test-node.ts'
import { startStack } from '../../stack/start-stack.ts'
import { call, expectStatus, open } from '../call.ts'

/** What the random walk acts on: a real daemon on gVisor, or the node in this process on machines in memory. */
export interface Subject extends AsyncDisposable {
  create(snapshot: string | undefined): Promise<string>
  write(id: string, name: string, text: string): Promise<void>
  /** Undefined where there is no such file. */
  read(id: string, name: string): Promise<string | undefined>
  /** Lets a process hold a word that only memory keeps. */
  hold(id: string, word: string): Promise<void>
  held(id: string): Promise<string | undefined>
  pause(id: string, depth: PauseDepth): Promise<void>
  resume(id: string): Promise<void>
  stop(id: string): Promise<void>
  start(id: string): Promise<void>
  fork(id: string, count: number): Promise<string[]>
  snapshot(id: string, kind: SnapshotKind): Promise<string>
  forget(snapshot: string): Promise<void>
  delete(id: string): Promise<void>
  look(id: string): Promise<{ state: string; generation: number }>
  /** kill -9 of the daemon, and a new one. */
  crash(): Promise<void>
  /** The same, some ms into an act that may have come to its end or not. */
  crashWithin: ((act: () => Promise<unknown>, afterMs: number) => Promise<void>) | undefined
}

const childLease = () => testSpec().lease

/** Its daemon is only killed between acts: node/src/machines/killed.test.ts kills it at each step of each act. */
export const simulatedSubject = async (): Promise<Subject> => {
  const test = await testNode()
  return {
    create: async (snapshot) => {
      const spec = testSpec({ snapshot: snapshot ?? null })
      await test.node.create(spec)
      return spec.id
    },
    write: (id, name, text) => writeIn(test.node, id, name, text),
    read: (id, name) => readIn(test.node, id, name),
    hold: (id, word) => holdInMemory(test.node, id, word),
    held: (id) => heldInMemory(test.node, id),
    pause: async (id, depth) => void (await test.node.pause(id, depth, 'walk')),
    resume: async (id) => void (await test.node.resume(id, 'walk')),
    stop: async (id) => void (await test.node.stop(id, 'walk')),
    start: async (id) => void (await test.node.start(id)),
    fork: async (id, count) => {
      const children = Array.from({ length: count }, () => ({
        id: makeId('sbx', randomBytes(20)),
        hostname: 'child',
        lease: childLease(),
      }))
      const fork = await test.node.fork(id, children, 'walk')
      return fork.children.map((child) => {
        if ('error' in child) throw child.error
        return child.id
      })
    },
    snapshot: async (id, kind) => {
      const order = { id: makeId('snp', randomBytes(20)), kind }
      return (await test.node.snapshot(id, order, 'walk')).id
    },
    forget: async (snapshot) => void (await test.node.deleteSnapshot(snapshot)),
    delete: async (id) => void (await test.node.delete(id, 'deleted', 'walk')),
    look: (id) => test.node.get(id),
    crash: async () => void (await test.replace()),
    crashWithin: undefined,
    [Symbol.asyncDispose]: () => test[Symbol.asyncDispose](),
  }
}

const keeper = 'keeper'
const limits = { cpuMillis: 1_000, memoryMib: 256, diskMib: 256 }

/** Through the API of a real daemon, which is really killed. */
export const gvisorSubject = async (): Promise<Subject> => {
  const stack = await startStack({ args: ['--pool', '1'] })
  const { atoll } = stack
  const connect = (id: string) => atoll.sandboxes.connect(id)
  const crash = async (): Promise<void> => {
    await stack.crash()
    await stack.restart()
  }
  return {
    create: async (snapshot) =>
      (await atoll.sandboxes.create(snapshot === undefined ? { runtime: 'gvisor', limits } : { snapshot }))
        .id,
    write: async (id, name, text) => void (await (await connect(id)).files.write(`/home/user/${name}`, text)),
    read: async (id, name) => {
      const ran = await (await connect(id)).run(['cat', `/home/user/${name}`])
      return ran.exit.code === 0 ? ran.stdout : undefined
    },
    hold: async (id, word) => {
      const handle = await (await connect(id)).start(['cat'], { id: keeper, stdin: 'pipe' })
      await handle.stdin.write(word)
      // The pipe took it; that `cat` said it again is what its log shows.
      for await (const event of handle.output()) if (event.type === 'stdout') return
    },
    held: async (id) => {
      const path = `/v1/sandboxes/${id}/processes/${keeper}`
      const record = await call<{ state: string }>(stack, 'GET', path)
      if (record.status === 404 || record.body.state !== 'running') return undefined
      // What the log has now: the process goes on.
      const output = await open(stack, 'GET', `${path}/output`)
      const events = (await output.text()).split('\n').filter((line) => line !== '')
      return events
        .map((line) => JSON.parse(line) as { type: string; data?: string })
        .map(({ type, data }) => (type === 'stdout' ? Buffer.from(data ?? '', 'base64').toString() : ''))
        .join('')
    },
    pause: async (id, depth) => void (await (await connect(id)).pause({ depth })),
    resume: async (id) => void (await (await connect(id)).resume()),
    stop: async (id) => void (await (await connect(id)).stop()),
    start: async (id) => void (await (await connect(id)).resume()),
    fork: async (id, count) => (await (await connect(id)).fork({ count })).map((child) => child.id),
    snapshot: async (id, kind) => (await (await connect(id)).snapshot({ kind })).id,
    forget: async (snapshot) => void (await atoll.snapshots.delete(snapshot)),
    delete: async (id) =>
      void expectStatus(await call(stack, 'DELETE', `/v1/sandboxes/${id}`), [200], `delete ${id}`),
    look: async (id) => (await connect(id)).info,
    crash,
    crashWithin: async (act, afterMs) => {
      const under = act().catch(() => undefined)
      await delay(afterMs)
      await crash()
      await under
    },
    [Symbol.asyncDispose]: () => stack[Symbol.asyncDispose](),
  }
}
