import type { Sandbox, SandboxInfo } from '@atoll/sdk'
import { exitCodes } from '../../exit-code.ts'
import type { Work } from '../../perform.ts'

/** Does one thing to each sandbox; one that fails does not keep the others from it. */
export const eachSandbox = async (
  { atoll, print, signal }: Work,
  ids: readonly string[],
  act: (sandbox: Sandbox) => Promise<SandboxInfo>,
): Promise<number> => {
  let failed = false
  for (const id of ids) {
    try {
      const info = await act(await atoll.sandboxes.connect(id, { signal }))
      print.item(info, () => `${id} ${stateOf(info)}`)
    } catch (error) {
      if (signal.aborted) throw error
      failed = true
      print.error(error)
    }
  }
  return failed ? exitCodes.ownFailure : 0
}

/** A sandbox's state in one word or two: a pause with its depth, an end with its cause. */
export const stateOf = ({ state, depth, ended }: SandboxInfo): string => {
  if (ended !== null) return `ended (${ended.cause})`
  return depth === null ? state : `${state} (${depth})`
}
