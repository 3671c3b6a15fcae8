import { attach, type Tree } from './tree.ts'

/** Plain values, so that they can be copied. */
export interface Memory {
  [name: string]: string | number | Memory | undefined
}

/** What a program of the simulated guest may touch. */
export interface Invocation {
  readonly argv: readonly string[]
  env: Record<string, string>
  cwd: string
  readonly pid: number
  readonly uid: number
  readonly tree: Tree
  readonly stdin: AsyncIterable<Uint8Array>
  /** Aborted with the name of the signal that ends it. */
  readonly signal: AbortSignal
  readonly now: () => number
  readonly hostname: string
  readonly cpuCount: number
  /** All that the program knows between two waits: what a checkpoint saves, and where a restored one goes on. */
  readonly memory: Memory
  /** Resolves when it may go on after a wait. */
  readonly passed: () => Promise<void>
  /** Resolves when the log took it: a slow follower slows the program down. */
  readonly write: (kind: 1 | 2, data: string | Uint8Array) => Promise<void>
  /** Ends the process by a signal. */
  readonly raise: (signal: string) => void
}
/** A program answers with its exit code. */
export type Program = (invocation: Invocation) => Promise<number>

/** A program's own write to a file. */
export const writeFile = (invocation: Invocation, path: string, data: Uint8Array): void =>
  attach(invocation.tree, path, {
    type: 'file',
    data,
    mode: 0o644,
    uid: invocation.uid,
    gid: invocation.uid,
    modifiedMs: invocation.now(),
  })
