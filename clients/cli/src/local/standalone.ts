import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { AtollError } from '@atoll/sdk'

/**
 * Runs the standalone daemon's entry as a child with our terminal. By package name at run time, not by import: the
 * CLI must work on machines where the server's packages are not installed.
 */
export const runStandalone = async (
  verb: 'up' | 'doctor',
  options: Readonly<Record<string, unknown>>,
): Promise<number> => {
  const args = Object.entries(options).flatMap(([name, value]) => argumentsOf(name, value))
  const child = spawn(process.execPath, [entry(), verb, ...args], { stdio: 'inherit' })
  // A terminal signals the whole group, so the child hears Ctrl-C itself; SIGTERM comes to us alone.
  const forward = (): void => void child.kill('SIGTERM')
  process.on('SIGTERM', forward)
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('error', reject)
      child.once('exit', (code, signal) => resolve(code ?? (signal === 'SIGINT' ? 130 : 143)))
    })
  } finally {
    process.off('SIGTERM', forward)
  }
}

const entry = (): string => {
  try {
    return fileURLToPath(import.meta.resolve('@atoll/standalone/main'))
  } catch (error) {
    throw new AtollError(
      'unsupported',
      'the server is not installed beside this CLI; run it from a checkout, or set ATOLL_URL to one that runs elsewhere',
      { cause: error },
    )
  }
}

const argumentsOf = (name: string, value: unknown): string[] => {
  const flag = `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
  if (value === true) return [flag]
  return typeof value === 'string' ? [flag, value] : []
}
