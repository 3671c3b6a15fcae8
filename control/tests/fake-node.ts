import {
  AtollError,
  type Ended,
  type GuestRequest,
  type GuestResponse,
  type NodeApi,
  type NodeEvent,
  type NodeSandbox,
  type NodeSandboxSpec,
  type Receipt,
} from '@atoll/protocol'
import { savingOf } from './fake-saving.ts'

export const isolation = {
  runtime: 'simulated' as const,
  version: '1',
  strength: 'none' as const,
  description: 'in memory',
  notes: [],
}

const receipt: Receipt = { processes: 3, cgroups: 1, mounts: 2, files: 4, durationMs: 5 }

/** A node in memory that keeps the port's promises; it outlives the control that asks it. */
export const fakeNode = () => {
  const machines = new Map<string, NodeSandbox>()
  const receipts = new Map<string, Receipt>()
  const events: NodeEvent[] = []
  const listeners = new Set<(event: NodeEvent) => void>()
  const calls: string[] = []
  let guest: (id: string, request: GuestRequest) => Promise<GuestResponse> = () =>
    Promise.reject(new AtollError('guest_unreachable', 'no guest here'))
  let beforeCreate: (spec: NodeSandboxSpec) => Promise<void> = () => Promise.resolve()

  const emit = (sandbox: string, type: string, data: Record<string, unknown> = {}): void => {
    const event = { seq: events.length + 1, atMs: Date.now(), sandbox, type, data }
    events.push(event)
    for (const listener of listeners) listener(event)
  }
  const known = (id: string): NodeSandbox => {
    const found = machines.get(id)
    if (found === undefined) throw new AtollError('not_found', `the node never had ${id}`)
    return found
  }
  const change = (id: string, part: Partial<NodeSandbox>, type: string): NodeSandbox => {
    const after = { ...known(id), ...part }
    machines.set(id, after)
    emit(id, type)
    return after
  }
  const end = (id: string, cause: Ended['cause'], by: string | null, message: string): void => {
    receipts.set(id, receipt)
    change(id, { state: 'ended', ended: { cause, by, atMs: Date.now(), message, receipt } }, 'ended')
  }

  const api: NodeApi = {
    info: async () => ({
      name: 'fake',
      version: '1',
      runtimes: [
        { ...isolation, runtime: 'gvisor', available: false, reason: 'no runsc', remedy: 'install it' },
        { ...isolation, available: true },
      ],
      sandboxes: machines.size,
    }),
    async create(spec) {
      calls.push(`create ${spec.id}`)
      await beforeCreate(spec)
      if (spec.snapshot !== null && !(await api.snapshots()).some(({ id }) => id === spec.snapshot))
        throw new AtollError('not_found', `the node has no snapshot ${spec.snapshot}`)
      const before = machines.get(spec.id)
      if (before !== undefined) return before
      const made: NodeSandbox = {
        id: spec.id,
        state: 'running',
        depth: null,
        generation: 1,
        isolation,
        limits: spec.limits,
        lease: spec.lease,
        ended: null,
        timings: { boot: 1 },
      }
      machines.set(spec.id, made)
      emit(spec.id, 'running')
      return made
    },
    get: async (id) => known(id),
    list: async () => [...machines.values()],
    lifecycle: async (id) => ({
      state: known(id).state,
      holders: [],
      idleSinceMs: null,
      next: [],
      explanation: 'lives',
    }),
    setLease: async (id, lease) => change(id, { lease: { ...known(id).lease, ...lease } }, 'lease'),
    hold: async (id, name, ttlMs) => {
      known(id)
      return { kind: 'lease', name, sinceMs: 1, untilMs: 1 + ttlMs }
    },
    release: async (id) => void known(id),
    async delete(id, cause, by) {
      calls.push(`delete ${id}`)
      known(id)
      if (known(id).state !== 'ended') end(id, cause, by, `deleted by ${by}`)
      return receipts.get(id) ?? receipt
    },
    ...savingOf({ machines, known, change, emit }),
    stop: async (id) => change(id, { state: 'stopped' }, 'stopped'),
    start: async (id) => change(id, { state: 'running' }, 'running'),
    guest: (id, request) => guest(id, request),
    events: async (after, count) => events.filter((event) => event.seq > after).slice(0, count),
    onEvent(listener) {
      listeners.add(listener)
      return { [Symbol.dispose]: () => void listeners.delete(listener) }
    },
    images: async () => [],
    async build(_build, onEvent, signal) {
      calls.push('build')
      for (let step = 1; step <= 3; step++) onEvent({ type: 'step', atMs: step, step, instruction: 'run x' })
      if (_build.steps.length === 1)
        await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
      const config = { env: { A: '1' }, user: 'root', workdir: '/', start: null, ready: null }
      return { digest: `sha256:${calls.length}`, sizeBytes: 10, config, createdAtMs: 1 }
    },
    deleteImage: async () => {},
    async receiveUpload(_sha256, body) {
      let sizeBytes = 0
      for await (const chunk of body) sizeBytes += chunk.length
      return { sizeBytes }
    },
  }
  return {
    api,
    calls,
    end,
    forget: (id: string) => machines.delete(id),
    emit,
    setGuest: (handler: typeof guest) => void (guest = handler),
    setBeforeCreate: (act: typeof beforeCreate) => void (beforeCreate = act),
  }
}

export type FakeNode = ReturnType<typeof fakeNode>
