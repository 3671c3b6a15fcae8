import type { StartProcessInput, TerminalSize } from '@atoll/protocol'
import type { CallOptions } from '../connection/connection.ts'
import { toBase64 } from '../connection/bytes.ts'
import { newKey } from '../connection/random-key.ts'

/** A program with its arguments, or one line for `/bin/sh -c`. */
export type Command = readonly string[] | string

export interface ProcessOptions extends CallOptions {
  /** Chosen by the client, so that a retry finds the same process. Default: a fresh one. */
  readonly id?: string | undefined
  readonly env?: Readonly<Record<string, string>> | undefined
  readonly cwd?: string | undefined
  readonly user?: string | undefined
  /** The guest's deadline for the process: past it the whole tree is killed and `exit.timedOut` is true. */
  readonly timeoutMs?: number | undefined
  /** Bytes of output that the guest keeps for reattaching, 64 KiB to 64 MiB; default 1 MiB. */
  readonly outputLimitBytes?: number | undefined
  /** What happens to processes that it leaves behind. Default `kill`. */
  readonly survivors?: 'kill' | 'keep' | undefined
}

export interface Start {
  readonly id: string
  readonly body: StartProcessInput
  /** For messages: the program's name, not its arguments: these may hold secrets. */
  readonly name: string
}

/** The body that starts a process. */
export const startOf = (
  command: Command,
  options: ProcessOptions,
  input: { stdin?: 'none' | 'pipe'; bytes?: Uint8Array; terminal?: TerminalSize },
): Start => {
  const id = options.id ?? newKey()
  const body = {
    id,
    ...(typeof command === 'string' ? { shell: command } : { argv: [...command] }),
    ...(options.env === undefined ? {} : { env: { ...options.env } }),
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.user === undefined ? {} : { user: options.user }),
    ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
    ...(options.outputLimitBytes === undefined ? {} : { outputLimitBytes: options.outputLimitBytes }),
    ...(options.survivors === undefined ? {} : { survivors: options.survivors }),
    ...(input.stdin === undefined ? {} : { stdin: input.stdin }),
    ...(input.bytes === undefined ? {} : { input: toBase64(input.bytes) }),
    ...(input.terminal === undefined ? {} : { terminal: input.terminal }),
  }
  const name = typeof command === 'string' ? 'a shell line' : (command[0] ?? 'nothing')
  return { id, body: body as StartProcessInput, name }
}
