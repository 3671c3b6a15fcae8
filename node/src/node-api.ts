import {
  AtollError,
  type BuildEvent,
  type EndCause,
  type Lease,
  type NodeApi,
  type NodeBuild,
  type NodeForkChild,
  type NodeSandboxSpec,
  type PauseDepth,
} from '@atoll/protocol'
import type { Context } from './machines/context.ts'
import { createSandbox } from './machines/create.ts'
import { dispatch } from './machines/dispatch.ts'
import { endSandbox } from './machines/end.ts'
import { forkSandbox } from './machines/fork.ts'
import { hold, release } from './machines/holders.ts'
import { changeLease } from './machines/lease.ts'
import { explainLifecycle } from './machines/lifecycle.ts'
import { pauseSandbox } from './machines/pause.ts'
import { present, presentAdopted, presentAll, recordOf } from './machines/present.ts'
import { resumeSandbox } from './machines/resume.ts'
import { deleteSnapshot, listSnapshots, type SnapshotOrder, snapshotSandbox } from './machines/snapshot.ts'
import { startSandbox } from './machines/start.ts'
import { stopSandbox } from './machines/stop.ts'
import { deleteImage } from './pool/forget-image.ts'

/** The machines as control and gateway may ask of them. Every method rejects with an AtollError. */
export const nodeApi = (context: Context): NodeApi => {
  const record = (id: string) => recordOf(context, id)
  const shown = async (id: string) => await present(context, record(id))
  const { images } = context
  return {
    info: guard('info', async () => ({
      name: context.options.name,
      version: context.options.version,
      runtimes: await context.runtimes.list(),
      sandboxes: context.records.sandboxes.held().count,
    })),
    create: guard('create', async (spec: NodeSandboxSpec, signal?: AbortSignal) => {
      const isNew = await createSandbox(context, spec, signal)
      return isNew ? presentAdopted(context, spec.id) : await shown(spec.id)
    }),
    get: guard('get', shown),
    list: guard('list', () => presentAll(context)),
    lifecycle: guard('lifecycle', async (id: string) => await explainLifecycle(context, record(id))),
    setLease: guard('setLease', async (id: string, lease: Partial<Lease>) => {
      await changeLease(context, record(id), lease)
      return await shown(id)
    }),
    hold: guard('hold', async (id: string, name: string, ttlMs: number) =>
      hold(context, record(id), name, ttlMs),
    ),
    release: guard('release', async (id: string, name: string) => release(context, record(id), name)),
    delete: guard('delete', async (id: string, cause: EndCause, by: string) =>
      endSandbox(context, record(id), { cause, by, message: `deleted by ${by}` }),
    ),
    stop: guard('stop', async (id: string, by: string) => {
      await stopSandbox(context, id, by)
      return await shown(id)
    }),
    start: guard('start', async (id: string) => {
      await startSandbox(context, id)
      return await shown(id)
    }),
    pause: guard('pause', async (id: string, depth: PauseDepth, by: string) => {
      await pauseSandbox(context, id, depth, by)
      return await shown(id)
    }),
    resume: guard('resume', async (id: string, by: string) => {
      await resumeSandbox(context, id, by)
      return await shown(id)
    }),
    snapshot: guard('snapshot', (id: string, order: SnapshotOrder, by: string) =>
      snapshotSandbox(context, id, order, by),
    ),
    snapshots: guard('snapshots', async () => listSnapshots(context)),
    deleteSnapshot: guard('deleteSnapshot', (id: string) => deleteSnapshot(context, id)),
    fork: guard('fork', (id: string, children: readonly NodeForkChild[], by: string) =>
      forkSandbox(context, id, children, by),
    ),
    // Already typed by node/src/guest, and the hot path.
    guest: (id, request) => dispatch(context, id, request),
    events: guard('events', async (afterSeq: number, count: number) =>
      context.records.events.after(afterSeq, count),
    ),
    onEvent: (listener) => {
      context.listeners.add(listener)
      return { [Symbol.dispose]: () => void context.listeners.delete(listener) }
    },
    images: guard('images', () => images.list()),
    build: guard('build', (build: NodeBuild, onEvent: (event: BuildEvent) => void, signal: AbortSignal) =>
      images.build(build, onEvent, signal),
    ),
    deleteImage: guard('deleteImage', (digest: string) => deleteImage(context, digest)),
    receiveUpload: guard(
      'receiveUpload',
      (sha256: string, body: AsyncIterable<Uint8Array>, signal: AbortSignal) =>
        images.receiveUpload(sha256, body, signal),
    ),
  }
}

/** Whatever else a method rejects with becomes `internal`, named by the method. */
const guard =
  <Arguments extends unknown[], Result>(name: string, call: (...given: Arguments) => Promise<Result>) =>
  async (...given: Arguments): Promise<Result> => {
    try {
      return await call(...given)
    } catch (error) {
      if (error instanceof AtollError) throw error
      const message = error instanceof Error ? error.message : String(error)
      throw new AtollError('internal', `node ${name} failed: ${message}`, { cause: error })
    }
  }
