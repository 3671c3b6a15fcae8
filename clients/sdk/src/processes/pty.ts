import type { CallOptions, Connection } from '../connection/connection.ts'
import type { Command } from './command.ts'
import { startProcess } from './start.ts'
import { openTerminal, type Terminal } from './terminal.ts'

export interface PtyOptions extends CallOptions {
  readonly onData: (data: Uint8Array) => void
  /** Default: a login shell, bash where there is one. */
  readonly command?: Command | undefined
  readonly columns?: number | undefined
  readonly rows?: number | undefined
  readonly env?: Readonly<Record<string, string>> | undefined
  readonly cwd?: string | undefined
  readonly user?: string | undefined
}

const defaultColumns = 80
const defaultRows = 24
const loginShell = 'if command -v bash >/dev/null 2>&1; then exec bash -l; else exec sh -l; fi'

/** Starts a process on a terminal of its own, and opens it. */
export const openPty = async (
  connection: Connection,
  sandbox: string,
  options: PtyOptions,
): Promise<Terminal> => {
  const { onData, command = loginShell, columns = defaultColumns, rows = defaultRows, signal } = options
  const process = await startProcess(connection, sandbox, command, {
    ...options,
    env: { TERM: 'xterm-256color', ...options.env },
    terminal: { columns, rows },
    stdin: 'pipe',
  })
  return openTerminal(connection, sandbox, process, { onData, signal })
}
