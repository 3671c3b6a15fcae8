import { stat } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { AtollError } from '@atoll/protocol'
import { z } from 'zod'
import { askShim } from '../../host/shim.ts'
import type { Blank, Machine, MachineImage, MachineSpec } from '../driver.ts'
import { checkImageFiles, imageFiles } from './image-files.ts'
import { gvisorLimits } from './limits.ts'
import { type GvisorHost, versionOf } from './options.ts'

/** A blank and its restore in one; what the image itself tells is looked at before anything is made. */
export const restore = async (
  host: GvisorHost,
  makeBlank: (spec: MachineSpec, signal: AbortSignal) => Promise<Blank>,
  image: MachineImage,
  spec: MachineSpec,
  signal: AbortSignal,
): Promise<Machine> => {
  signal.throwIfAborted()
  await checkImage(host, image, spec)
  const blank = await makeBlank(spec, signal)
  return await blank.restore(image, signal)
}

/** Refuses an image of another runtime, version or disk, and files that are not whole. */
export const checkImage = async (host: GvisorHost, image: MachineImage, spec: MachineSpec): Promise<void> => {
  const unfit = (why: string): AtollError =>
    new AtollError('snapshot_unfit', `cannot restore ${spec.id}: ${why}; nothing was tried`)
  if (image.runtime !== 'gvisor' || image.kind !== 'memory')
    throw unfit(`the image is a ${image.kind} image of ${image.runtime}`)
  if (image.version !== versionOf(host))
    throw unfit(`the image is of ${image.version} and here is ${versionOf(host)}`)
  if (image.diskBytes !== spec.limits.diskBytes)
    throw unfit(
      `the image has a disk of ${image.diskBytes} bytes and the sandbox one of ${spec.limits.diskBytes}`,
    )
  for (const { path, bytes } of image.files) {
    const size = await stat(path).then(
      (found) => found.size,
      () => -1,
    )
    if (size !== bytes)
      throw new AtollError(
        'snapshot_invalid',
        size < 0
          ? `cannot restore ${spec.id}: ${path} is missing; nothing was tried`
          : `cannot restore ${spec.id}: ${path} has ${size} bytes and was written with ${bytes}; nothing was tried`,
      )
  }
  await checkImageFiles(image.files, 'snapshot_invalid')
}

/** Gives the files to the blank gVisor, which is thawed for it. Returns when user code could run. */
export const putImage = async (machine: Machine, image: MachineImage, signal: AbortSignal): Promise<void> => {
  const { id, directory } = machine.record
  const files = imageFiles.map((name) => ({
    path: image.files.find((file) => file.name === name)?.path,
    mode: 'read',
  }))
  await machine.thaw(signal)
  const call = {
    do: 'call',
    method: 'containerManager.Restore',
    arg: { HavePagesFile: true, HaveDeviceFile: false },
    files,
    timeoutMs: gvisorLimits.callTimeoutMs,
  }
  try {
    await askShim(directory, call, z.object({}), signal)
  } catch (error) {
    signal.throwIfAborted()
    throw await restoreFault(id, machine, error)
  }
}

/** What runsc refuses is the image's fault, unless its gVisor came to an end of another kind. */
const restoreFault = async (id: string, machine: Machine, error: unknown): Promise<AtollError> => {
  // What follows the first line is a dump of Go's stack.
  const [message = ''] = (error instanceof Error ? error.message : String(error)).split('\n')
  const ended = await Promise.race([machine.exited, sleep(endLookMs)])
  const why = ended === undefined ? message : `${message}; it ended: ${ended.cause}: ${ended.message}`
  if (ended?.cause === 'oom')
    return new AtollError(
      'out_of_memory',
      `cannot restore ${id}: its memory does not hold the image: ${why}`,
      {
        cause: error,
      },
    )
  if (/no space left|bad address/iu.test(message))
    return new AtollError('host_disk_full', `cannot restore ${id}: no room for its memory or disk: ${why}`, {
      cause: error,
    })
  if (
    ended?.cause === 'killed' ||
    ended?.cause === 'deadline' ||
    (error instanceof AtollError && error.code !== 'internal')
  )
    return new AtollError('internal', `cannot restore ${id}: ${why}`, { cause: error })
  return new AtollError('snapshot_invalid', `cannot restore ${id}: runsc does not take the image: ${why}`, {
    cause: error,
  })
}

/** How long to look whether the runtime died of it. */
const endLookMs = 50

/** The command line of runsc has no blank that takes an image later; only the socket has. */
export const controlPathLacks = (act: string): AtollError =>
  new AtollError(
    'unsupported',
    `cannot ${act} with controlPath cli: only the control socket can; set it to socket`,
  )
