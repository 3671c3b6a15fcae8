import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { machineFolder } from '../e2e/machine-parts.ts'
import type { Stack } from '../stack/start-stack.ts'

/** Where a sandbox's sockets and records lie on the host: in the folder of its machine. */
export const sandboxFolder = (stack: Stack, id: string): string => machineFolder(stack, id)

/** Host pids of a sandbox, as the shim wrote them down. */
export const pidsOf = (
  stack: Stack,
  id: string,
): { readonly shimPid: number; readonly runtimePid: number } => {
  const record = JSON.parse(readFileSync(join(sandboxFolder(stack, id), 'shim.json'), 'utf8')) as Record<
    string,
    unknown
  >
  const { shimPid, runtimePid } = record
  if (typeof shimPid !== 'number' || typeof runtimePid !== 'number')
    throw new Error(`shim.json of ${id} names no pids: ${Object.keys(record).join(', ')}`)
  return { shimPid, runtimePid }
}

/** One line of /proc/pid/status. */
export const statusLine = (pid: number | string, name: string): string => {
  const found = new RegExp(`^${name}:[ \\t]*(.*)$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  if (found?.[1] === undefined) throw new Error(`process ${pid} has no ${name} in its status`)
  return found[1]
}
