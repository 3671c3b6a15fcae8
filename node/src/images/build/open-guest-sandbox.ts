import { randomBytes } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { AtollError, makeId } from '@atoll/protocol'
import { askAdopt, askHealth } from '../../guest/calls.ts'
import { guestConnection } from '../../guest/connection.ts'
import type { Machine, MachineLimits, RuntimeDriver } from '../../runtimes/driver.ts'
import type { BuildSandbox, OpenBuildSandbox } from '../build-sandbox.ts'
import type { ImageStore } from '../image-store.ts'
import { openImage } from '../open-image.ts'
import { removeTree } from '../remove-tree.ts'
import { guestBuildSandbox } from './guest-sandbox.ts'

/** What build sandboxes are made with. */
export interface BuildSandboxOptions {
  readonly store: ImageStore
  /** The runtime of builds; asked for each, since a probe may choose another. */
  readonly driver: (signal: AbortSignal) => Promise<RuntimeDriver>
  /** Where their folders are; short, because sockets lie in them. */
  readonly directory: string
  readonly limits?: MachineLimits
  /** First host id of the first of `builds` ranges of 65,536; none of them a sandbox's or the jail's. */
  readonly uidFirst?: number
}

/** Above the ranges of sandboxes and below that of the jail. */
const defaultUidFirst = 3_932_400_000
const idsPerBuild = 65_536
/** Builds with a sandbox at a time. */
const builds = 16
/** A build whose daemon died ends by itself after this, ms: one hour. */
const longestMs = 3_600_000
const readyMs = 20_000
const destroyMs = 30_000
const entropyBytes = 64
const gib = 1024 ** 3
const defaultLimits: MachineLimits = {
  cpuMillis: 2_000,
  memoryBytes: 2 * gib,
  processes: 1_024,
  diskBytes: 10 * gib,
  openFiles: 65_536,
}

/** Opens build sandboxes on a real runtime. They get no network of their own here. */
export const openGuestSandboxes = (options: BuildSandboxOptions): OpenBuildSandbox => {
  const taken = new Set<number>()
  return async (imageDigest, signal) => {
    const slot = Array.from({ length: builds }, (_, index) => index).find((index) => !taken.has(index))
    if (slot === undefined) {
      throw new AtollError('overloaded', `cannot open a build sandbox: ${builds} builds run; try again later`)
    }
    await using stack = new AsyncDisposableStack()
    taken.add(slot)
    stack.defer(() => void taken.delete(slot))
    const { path: imagePath } = await openImage(options.store, imageDigest, signal)
    const id = makeId('sbx', randomBytes(20))
    const directory = join(options.directory, id)
    await mkdir(directory, { recursive: true, mode: 0o700 })
    stack.defer(() => removeTree(directory))
    const limits = options.limits ?? defaultLimits
    const driver = await options.driver(signal)
    const spec = {
      id,
      directory,
      imagePath,
      hostname: 'build',
      limits,
      uidBase: (options.uidFirst ?? defaultUidFirst) + idsPerBuild * slot,
      deadlineUnixMs: options.store.now() + longestMs,
    }
    const machine = await driver.start(spec, signal)
    stack.defer(async () => void (await machine.destroy(AbortSignal.timeout(destroyMs))))
    const sandbox = await connect(machine, id, limits, options.store.now)
    const kept = stack.move()
    return { ...sandbox, [Symbol.asyncDispose]: () => end(sandbox, kept) }
  }
}

const end = async (sandbox: BuildSandbox, stack: AsyncDisposableStack): Promise<void> => {
  await sandbox[Symbol.asyncDispose]()
  await stack.disposeAsync()
}

const connect = async (
  machine: Machine,
  sandboxId: string,
  limits: MachineLimits,
  now: () => number,
): Promise<BuildSandbox> => {
  const guest = guestConnection((signal) => machine.connectGuest(signal), Math.random)
  const close = (): void => guest.close(new AtollError('guest_unreachable', 'the build sandbox has ended'))
  try {
    await askHealth(guest, readyMs)
    const identity = {
      sandboxId,
      generation: 1,
      reason: 'create' as const,
      hostname: 'build',
      timeUnixMs: now(),
      entropy: randomBytes(entropyBytes).toString('base64'),
      env: {},
      limits: { ...limits, cpuCount: Math.max(1, Math.ceil(limits.cpuMillis / 1_000)) },
      defaultUser: 'root',
      workdir: '/',
    }
    const adopted = await askAdopt(guest, identity, readyMs)
    if (adopted.sandboxId !== sandboxId) {
      throw new AtollError(
        'internal',
        'cannot open a build sandbox: the guest answers another id; it is destroyed',
      )
    }
  } catch (error) {
    close()
    throw error
  }
  return guestBuildSandbox(guest, async () => close())
}
