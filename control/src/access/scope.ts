import { AtollError, type Scope } from '@atoll/protocol'
import type { Caller } from '../context.ts'

/** True when the caller may: admin may everything, and who may write may read. */
export const may = (caller: Caller, scope: Scope): boolean =>
  caller.scopes.has('admin') ||
  caller.scopes.has(scope) ||
  (scope.endsWith(':read') && caller.scopes.has(scope.replace(':read', ':write')))

/** Refuses a caller whose key lacks the scope. */
export const need = (caller: Caller, scope: Scope): void => {
  if (may(caller, scope)) return
  throw new AtollError(
    'forbidden',
    `key ${caller.key} lacks the scope ${scope}: make a key that has it (POST /v1/keys)`,
    { details: { scope } },
  )
}
