import { limits, makeId, type NodeSandboxSpec } from '@atoll/protocol'
import type { GuestConnection } from '../guest/connection.ts'
import { guestBuildSandbox } from '../images/build/guest-sandbox.ts'
import type { OpenBuildSandbox } from '../images/build-sandbox.ts'
import type { Context } from './context.ts'
import { createSandbox } from './create.ts'
import { dispatch } from './dispatch.ts'
import { endSandbox } from './end.ts'

/** Length of the random part of an id, bytes. */
const idBytes = 20
/** A step may think that long between two commands; a daemon that died leaves the sandbox no longer, ms. */
const idleMs = 300_000
const buildLimits = {
  cpuMillis: 2_000,
  memoryMib: 2_048,
  diskMib: 16_384,
  processes: 2_048,
  openFiles: 16_384,
} as const

/**
 * Sandboxes for the steps of builds: like any other one, on the strongest runtime, as root, and recorded, so
 * that one whose build died with its daemon ends by its idle policy.
 */
export const openBuildSandbox =
  (context: () => Context): OpenBuildSandbox =>
  async (imageDigest, signal) => {
    const node = context()
    const id = makeId('sbx', node.random(idBytes))
    const spec: NodeSandboxSpec = {
      id,
      runtime: null,
      imageDigest,
      snapshot: null,
      hostname: 'build',
      env: {},
      user: 'root',
      workdir: '/',
      start: null,
      ready: null,
      limits: buildLimits,
      lease: {
        expiresAtMs: node.clock.now() + limits.timeoutDefaultMs * 2,
        timeoutMs: limits.timeoutDefaultMs * 2,
        onTimeout: 'delete',
        idle: { afterMs: idleMs, action: 'delete' },
        autoResume: false,
        onHostLost: 'delete',
      },
    }
    await createSandbox(node, spec, signal)
    const holder = { kind: 'connection', name: 'build' } as const
    const guest: GuestConnection = {
      request: (request) => dispatch(node, id, { ...request, holder }),
      get open() {
        return node.live.get(id)?.guest.open ?? 0
      },
      hush: (hushed) => node.live.get(id)?.guest.hush(hushed),
      close: (reason) => node.live.get(id)?.guest.close(reason),
    }
    return guestBuildSandbox(guest, async () => {
      const record = node.records.sandboxes.get(id)
      if (record !== undefined)
        await endSandbox(node, record, { cause: 'deleted', by: 'build', message: 'the build is over' })
    })
  }
