import {
  AtollError,
  type NodeApi,
  type NodeForkChild,
  type NodeSandbox,
  type NodeSnapshot,
} from '@atoll/protocol'

interface FakeMachines {
  readonly machines: Map<string, NodeSandbox>
  readonly known: (id: string) => NodeSandbox
  readonly change: (id: string, part: Partial<NodeSandbox>, type: string) => NodeSandbox
  readonly emit: (sandbox: string, type: string, data?: Record<string, unknown>) => void
}

type Saving = Pick<NodeApi, 'pause' | 'resume' | 'snapshot' | 'snapshots' | 'deleteSnapshot' | 'fork'>

/** Pauses, snapshots and forks of the fake node. A child whose label of failure is its lease's length fails. */
export const failingTimeoutMs = 13_000

export const savingOf = ({ machines, known, change, emit }: FakeMachines): Saving => {
  const kept = new Map<string, NodeSnapshot>()
  const alive = (id: string): NodeSandbox => {
    const seen = known(id)
    if (seen.state === 'running' || seen.state === 'paused') return seen
    throw new AtollError('state_conflict', `sandbox ${id} is ${seen.state}; start it first`)
  }
  return {
    pause: async (id, depth) => {
      alive(id)
      return change(id, { state: 'paused', depth }, 'paused')
    },
    resume: async (id) => {
      const { state, depth, generation } = alive(id)
      if (state === 'running') return known(id)
      const grown = depth === 'stored' ? generation + 1 : generation
      return change(id, { state: 'running', depth: null, generation: grown }, 'running')
    },
    async snapshot(sandbox, { id, kind }) {
      const before = kept.get(id)
      if (before !== undefined) return before
      const { isolation, limits } = alive(sandbox)
      const made: NodeSnapshot = {
        id,
        kind,
        digest: `sha256:${id}`,
        sandbox,
        imageDigest: 'sha256:1',
        isolation,
        limits,
        sizeBytes: 1_000,
        pausedMs: 12.5,
        createdAtMs: Date.now(),
      }
      kept.set(id, made)
      emit(sandbox, 'snapshot', { snapshot: id })
      return made
    },
    snapshots: async () => [...kept.values()],
    async deleteSnapshot(id) {
      const found = kept.get(id)
      if (found === undefined) throw new AtollError('not_found', `the node has no snapshot ${id}`)
      kept.delete(id)
      return { freedBytes: found.sizeBytes }
    },
    async fork(id, children) {
      const parent = alive(id)
      return {
        pausedMs: parent.state === 'paused' ? 0 : 8,
        children: children.map((child) => copyOf(machines, parent, child)),
      }
    },
  }
}

const copyOf = (machines: Map<string, NodeSandbox>, parent: NodeSandbox, { id, lease }: NodeForkChild) => {
  if (lease.timeoutMs === failingTimeoutMs && machines.size % 2 === 1)
    return { id, error: new AtollError('overloaded', 'no place is free') }
  const { isolation, limits } = parent
  const sandbox: NodeSandbox = {
    id,
    state: 'running',
    depth: null,
    generation: parent.generation + 1,
    isolation,
    limits,
    lease,
    ended: null,
    timings: { restore: 1 },
  }
  machines.set(id, sandbox)
  return { id, sandbox }
}
