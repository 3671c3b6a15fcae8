import { AtollError } from '@atoll/protocol'
import type { Caller } from '../context.ts'

/** The project that a list is about: the caller's, or for an admin the one that is asked. */
export const projectOf = (caller: Caller, asked: string | undefined): string => {
  if (asked === undefined || asked === caller.project) return caller.project
  if (caller.scopes.has('admin')) return asked
  throw new AtollError('not_found', `cannot find project ${asked}`)
}
