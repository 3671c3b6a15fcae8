import type { Exit, Process, StartProcess } from '@atoll/protocol'
import type { Memory } from './invocation.ts'
import type { OutputLog, SavedLog } from './log.ts'
import type { SavedStdin, stdinPipe } from './stdin.ts'

/** A process as a checkpoint keeps it. */
export interface SavedProcess {
  readonly id: string
  readonly pid: number
  readonly body: StartProcess
  readonly startedAtMs: number
  /** Ms that it had run. */
  readonly ranMs: number
  readonly memory: Memory
  readonly log: SavedLog
  readonly stdin: SavedStdin
  readonly exit: Exit | null
}

/** A command that runs or ran in a simulated guest. */
export interface SimulatedProcess {
  readonly id: string
  readonly log: OutputLog
  readonly stdin: ReturnType<typeof stdinPipe>
  /** Resolves with the record once it has ended. */
  readonly ended: Promise<Process>
  record(): Process
  /** Ends it by a signal of the API; false when it has ended. */
  signal(name: string): boolean
  readonly body: StartProcess
  /** Shares its parts: the caller copies them. */
  save(): SavedProcess
}
