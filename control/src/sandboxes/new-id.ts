import { makeId } from '@atoll/protocol'
import type { Context } from '../context.ts'

/** The id of a new sandbox. */
export const newSandboxId = (context: Context): string => makeId('sbx', context.random(20))

/** The name that a sandbox has inside: its own where that is one of a host, else its id. */
export const hostnameOf = (sandbox: { readonly id: string; readonly name: string | null }): string =>
  sandbox.name !== null && /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(sandbox.name)
    ? sandbox.name
    : sandbox.id.replace('_', '-')
