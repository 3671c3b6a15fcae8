import type { Readable } from 'node:stream'

/** One command of a build. */
export interface BuildCommand {
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string
  readonly user: string
  readonly timeoutMs: number
}

/** How it ended; exactly one of code and signal is not null. */
export interface BuildCommandEnd {
  readonly code: number | null
  readonly signal: string | null
  readonly timedOut: boolean
}

/** A sandbox in which the steps of one build run. Foreign code runs there and nowhere else. */
export interface BuildSandbox extends AsyncDisposable {
  /** Runs a command to its end; resolves only with an end that the guest reported. */
  run(
    command: BuildCommand,
    onOutput: (bytes: Uint8Array) => void,
    signal: AbortSignal,
  ): Promise<BuildCommandEnd>
  /** Unpacks a tar below an absolute folder, which is made where it is missing, as that user. */
  upload(path: string, tar: Readable, user: string, signal: AbortSignal): Promise<void>
  /**
   * The whole root as a tar: ids, modes, times, hard links; without what is mounted (`/proc`, `/dev`, `/sys`)
   * and without `/.atoll`. A stream that ends early ends with an error.
   */
  exportRoot(signal: AbortSignal): Promise<Readable>
}

/** Boots a sandbox from an image. The limits and the network of builds are the opener's business. */
export type OpenBuildSandbox = (imageDigest: string, signal: AbortSignal) => Promise<BuildSandbox>
