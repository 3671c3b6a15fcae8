import type { Process, StartProcess } from '@atoll/protocol'
import type { OutputLog } from './log.ts'
import type { stdinPipe } from './stdin.ts'

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
}
