import { AtollError, type Lease, type NodeApi } from '@atoll/protocol'
import type { Context } from './machines/context.ts'
import { createSandbox } from './machines/create.ts'
import { dispatch } from './machines/dispatch.ts'
import { endSandbox } from './machines/end.ts'
import { hold, release } from './machines/holders.ts'
import { changeLease } from './machines/lease.ts'
import { explainLifecycle } from './machines/lifecycle.ts'
import { present, presentAll, recordOf } from './machines/present.ts'
import { startSandbox } from './machines/start.ts'
import { stopSandbox } from './machines/stop.ts'

/** The machines as control and gateway may ask of them. Every method rejects with an AtollError. */
export const nodeApi = (context: Context): NodeApi => {
  const record = (id: string) => recordOf(context, id)
  const shown = (id: string) => present(context, record(id))
  const api: NodeApi = {
    info: async () => ({
      name: context.options.name,
      version: context.options.version,
      runtimes: await context.runtimes.list(),
      sandboxes: context.records.sandboxes.held().count,
    }),
    create: async (spec, signal) => {
      await createSandbox(context, spec, signal)
      return await shown(spec.id)
    },
    get: async (id) => await shown(id),
    list: () => presentAll(context),
    lifecycle: async (id) => await explainLifecycle(context, record(id)),
    setLease: async (id, lease: Partial<Lease>) => {
      await changeLease(context, record(id), lease)
      return await shown(id)
    },
    hold: async (id, name, ttlMs) => hold(context, record(id), name, ttlMs),
    release: async (id, name) => release(context, record(id), name),
    delete: async (id, cause, by) =>
      await endSandbox(context, record(id), { cause, by, message: `deleted by ${by}` }),
    stop: async (id, by) => {
      await stopSandbox(context, record(id), by)
      return await shown(id)
    },
    start: async (id) => {
      await startSandbox(context, record(id))
      return await shown(id)
    },
    guest: (id, request) => dispatch(context, id, request),
    events: async (afterSeq, count) => context.records.events.after(afterSeq, count),
    onEvent: (listener) => {
      context.listeners.add(listener)
      return { [Symbol.dispose]: () => void context.listeners.delete(listener) }
    },
    images: () => context.images.list(),
    build: (build, onEvent, signal) => context.images.build(build, onEvent, signal),
    deleteImage: async (digest) => await context.images.delete(digest, context.records.sandboxes.images()),
    receiveUpload: (sha256, body, signal) => context.images.receiveUpload(sha256, body, signal),
  }
  return typed(api)
}

/** Whatever else a method rejects with becomes `internal`, named by the method. */
const typed = (api: NodeApi): NodeApi => {
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
  return {
    info: guard('info', api.info),
    create: guard('create', api.create),
    get: guard('get', api.get),
    list: guard('list', api.list),
    lifecycle: guard('lifecycle', api.lifecycle),
    setLease: guard('setLease', api.setLease),
    hold: guard('hold', api.hold),
    release: guard('release', api.release),
    delete: guard('delete', api.delete),
    stop: guard('stop', api.stop),
    start: guard('start', api.start),
    // Already typed by node/src/guest, and the hot path.
    guest: api.guest,
    events: guard('events', api.events),
    onEvent: api.onEvent,
    images: guard('images', api.images),
    build: guard('build', api.build),
    deleteImage: guard('deleteImage', api.deleteImage),
    receiveUpload: guard('receiveUpload', api.receiveUpload),
  }
}
