import type { Process } from '@atoll/protocol'
import type { Connection } from '../connection/connection.ts'
import { type Command, type ProcessOptions, startOf } from './command.ts'
import { ProcessHandle } from './handle.ts'

export interface StartOptions extends ProcessOptions {
  /** `pipe` opens the standard input for `stdin.write`; default `none`. */
  readonly stdin?: 'none' | 'pipe' | undefined
  readonly terminal?: { readonly columns: number; readonly rows: number } | undefined
}

/** Starts a process and comes back at once; the handle follows, feeds and ends it. */
export const startProcess = async (
  connection: Connection,
  sandbox: string,
  command: Command,
  options: StartOptions,
): Promise<ProcessHandle> => {
  const start = startOf(command, options, {
    stdin: options.stdin ?? 'none',
    ...(options.terminal === undefined ? {} : { terminal: options.terminal }),
  })
  const process = await connection.json<Process>({
    method: 'POST',
    path: `/v1/sandboxes/${sandbox}/processes`,
    json: start.body,
    act: `start ${start.name} in ${sandbox}`,
    signal: options.signal,
    deadlineMs: options.deadlineMs,
  })
  return new ProcessHandle(connection, sandbox, process.id)
}

/** Running and kept processes, newest first. */
export const listProcesses = async (connection: Connection, sandbox: string): Promise<readonly Process[]> => {
  const { processes } = await connection.json<{ processes: Process[] }>({
    method: 'GET',
    path: `/v1/sandboxes/${sandbox}/processes`,
    act: `list the processes of ${sandbox}`,
  })
  return processes
}
