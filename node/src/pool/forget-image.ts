import type { Context } from '../machines/context.ts'
import { freeMachine } from './begin.ts'
import { forgetSnapshot } from '../snapshots/remove.ts'
import { parseKey } from './state.ts'

/**
 * Deletes an image that neither a sandbox nor a snapshot of someone stands on; machines that wait on it and its
 * template snapshots go with it.
 */
export const deleteImage = async (context: Context, digest: string): Promise<void> => {
  const { sandboxes, snapshots } = context.records
  const inUse = new Set([...sandboxes.images(), ...snapshots.images()])
  if (!inUse.has(digest)) await forgetImage(context, digest)
  await context.images.delete(digest, inUse)
}

const forgetImage = async (context: Context, digest: string): Promise<void> => {
  for (const [text, { key, ready, blanks }] of context.pool.shelves) {
    if (key.imageDigest !== digest) continue
    // One that is being filled now finds a new shelf that nobody wants, and is trimmed.
    context.pool.shelves.delete(text)
    for (const { unclaimed } of ready.splice(0)) await unclaimed[Symbol.asyncDispose]()
    for (const { machineId, blank } of blanks.splice(0)) await freeMachine(context, machineId, blank)
  }
  for (const { id } of context.records.snapshots.ofOwner('template'))
    if (parseKey(id.replace(/^template:/, ''))?.imageDigest === digest) await forgetSnapshot(context, id)
}
