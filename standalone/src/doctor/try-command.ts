import { execFile } from 'node:child_process'

/** Ms that a tool gets to answer. */
const timeoutMs = 20_000
const maxOutputBytes = 1024 ** 2

export interface Tried {
  readonly ok: boolean
  readonly stdout: string
  /** The first line that it said, wherever: tools print their version to either stream. */
  readonly said: string
  /** Why not: the last line that it said, or that it is not there. */
  readonly reason: string
}

/** Runs a tool of the host and tells how it went. */
export const tryCommand = (file: string, args: readonly string[], signal: AbortSignal): Promise<Tried> =>
  new Promise((resolve) => {
    execFile(
      file,
      args,
      { timeout: timeoutMs, maxBuffer: maxOutputBytes, signal },
      (error, stdout, stderr) => {
        const last = stderr.trim().split('\n').at(-1) ?? ''
        const absent = error !== null && 'code' in error && error.code === 'ENOENT'
        const reason = absent ? `${file} is not installed` : last === '' ? (error?.message ?? '') : last
        resolve({
          ok: error === null,
          stdout,
          said: `${stdout}\n${stderr}`.trim().split('\n')[0] ?? '',
          reason,
        })
      },
    )
  })
