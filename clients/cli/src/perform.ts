import type { Command } from 'commander'
import type { Atoll } from '@atoll/sdk'
import { openClient } from './client.ts'
import { codeOfError } from './exit-code.ts'
import { onInterrupt } from './interrupt.ts'
import { type Printer, printerOf } from './output/print.ts'

/** What every command works with. */
export interface Work {
  /** Opened at first use, so that commands without one need no key. */
  readonly atoll: Atoll
  readonly print: Printer
  /** Fires at Ctrl-C and SIGTERM. */
  readonly signal: AbortSignal
}

/** Runs a command's work and turns what comes of it into an exit code: 0 unless the work answers another. */
export const perform = async (
  command: Command,
  work: (tools: Work) => Promise<number | void>,
): Promise<void> => {
  const print = printerOf(command.optsWithGlobals<{ json?: boolean }>().json === true)
  using interrupt = onInterrupt()
  let client: Atoll | undefined
  const tools: Work = {
    print,
    signal: interrupt.signal,
    get atoll() {
      client ??= openClient(process.env)
      return client
    },
  }
  try {
    process.exitCode = (await work(tools)) ?? 0
  } catch (error) {
    print.error(error)
    process.exitCode = codeOfError(error)
  }
}
