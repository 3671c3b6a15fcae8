import type { Context } from './context.ts'

/** Bytes of entropy in the name of a saved state. */
const nonceBytes = 10

/** The id of a row in `snapshots` for a sandbox's own state. */
export const savedId = (context: Context, sandboxId: string): string =>
  `${sandboxId}:${Buffer.from(context.random(nonceBytes)).toString('hex')}`
