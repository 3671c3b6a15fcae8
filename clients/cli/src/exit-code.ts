import { constants } from 'node:os'
import { type Exit, isAtollError } from '@atoll/sdk'

/** Exit codes of the CLI itself, as `timeout`, `env` and shells use them. */
export const exitCodes = {
  timedOut: 124,
  ownFailure: 125,
  cannotExecute: 126,
  notFound: 127,
  interrupted: 130,
} as const

/** The command's own code passes through; a signal is 128 + its number; the guest's deadline is 124. */
export const codeOfExit = (exit: Exit): number => {
  if (exit.timedOut) return exitCodes.timedOut
  if (exit.code !== null) return exit.code
  const number = (constants.signals as Readonly<Record<string, number>>)[exit.signal ?? '']
  return number === undefined ? exitCodes.ownFailure : 128 + number
}

/** 126 and 127 for a program that could not be started, 124 for a deadline, 125 for everything else of Atoll's. */
export const codeOfError = (error: unknown): number => {
  if (!isAtollError(error)) return exitCodes.ownFailure
  if (error.code === 'deadline_client' || error.code === 'deadline_guest') return exitCodes.timedOut
  if (error.code === 'canceled') return exitCodes.interrupted
  if (error.code !== 'exec_failed') return exitCodes.ownFailure
  const errno = error.details?.['errno']
  const absent = typeof errno === 'string' ? errno === 'ENOENT' : /no such|not found/i.test(error.message)
  return absent ? exitCodes.notFound : exitCodes.cannotExecute
}
