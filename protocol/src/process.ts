import { z } from 'zod'
import { processIdSchema } from './ids.ts'
import { limits } from './limits.ts'
import { envSchema } from './sandbox.ts'

const noNul = z.string().refine((text) => !text.includes('\0'), 'has no NUL')
const terminalSchema = z.object({ columns: z.int().min(1).max(1_000), rows: z.int().min(1).max(1_000) })
export type TerminalSize = z.infer<typeof terminalSchema>
export const terminalSizeSchema = terminalSchema

/** The body that starts a process: `argv`, or `shell` (one line for `/bin/sh -c`), never both. */
export const startProcessSchema = z
  .object({
    id: processIdSchema.optional(),
    argv: z.array(noNul).min(1).max(limits.argumentCount).optional(),
    shell: noNul.max(limits.argumentBytes).optional(),
    env: envSchema.default({}),
    cwd: noNul.max(limits.pathBytes).optional(),
    user: z.string().min(1).max(64).optional(),
    stdin: z.enum(['none', 'pipe']).default('none'),
    /** Bytes for stdin, base64, after which it is closed. Only in a buffered or streamed run. */
    input: z.base64().max(limits.jsonBodyBytes).optional(),
    terminal: terminalSchema.optional(),
    timeoutMs: z.int().min(1).max(limits.timeoutMaxMs).optional(),
    outputLimitBytes: z.int().min(limits.outputRingMinBytes).max(limits.outputRingMaxBytes).optional(),
    survivors: z.enum(['kill', 'keep']).default('kill'),
  })
  .refine(
    (body) => (body.argv === undefined) !== (body.shell === undefined),
    'give argv or shell, one of them',
  )
export type StartProcess = z.infer<typeof startProcessSchema>
export type StartProcessInput = z.input<typeof startProcessSchema>

/** How a process ended. Exactly one of code and signal is not null (invariant 1: no default exit code). */
export const exitSchema = z.object({
  code: z.int().nullable(),
  signal: z.string().nullable(),
  timedOut: z.boolean(),
  killed: z.boolean(),
  oom: z.boolean(),
  limits: z.array(z.enum(['memory', 'processes', 'disk'])),
  survivorsKilled: z.int(),
  survivorsKept: z.int(),
  durationMs: z.number(),
  cpuMs: z.number(),
  peakMemoryBytes: z.number(),
  endedAtMs: z.number(),
})
export type Exit = z.infer<typeof exitSchema>

export const processSchema = z.object({
  id: processIdSchema,
  pid: z.int(),
  argv: z.array(z.string()),
  user: z.string(),
  cwd: z.string(),
  terminal: z.boolean(),
  state: z.enum(['running', 'exited']),
  startedAtMs: z.number(),
  log: z.object({ start: z.int(), end: z.int() }),
  exit: exitSchema.nullable(),
})
export type Process = z.infer<typeof processSchema>

/** The answer of a buffered run. Text is UTF-8; a stream that is not is base64 and says so. */
export const runResultSchema = z.object({
  process: processSchema,
  exit: exitSchema,
  stdout: z.string(),
  stdoutEncoding: z.enum(['utf8', 'base64']),
  stderr: z.string(),
  stderrEncoding: z.enum(['utf8', 'base64']),
  /** Bytes that did not fit into `limits.bufferedOutputBytes` and were dropped; 0 means complete. */
  droppedBytes: z.int(),
})
export type RunResult = z.infer<typeof runResultSchema>

/** One line of an output stream (NDJSON). Ends with `exit`, `evicted` or `error`, always. */
export const outputEventSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('started'), process: processSchema }),
  z.object({ type: z.enum(['stdout', 'stderr']), offset: z.int(), data: z.base64() }),
  z.object({ type: z.literal('gap'), from: z.int(), to: z.int() }),
  z.object({ type: z.literal('heartbeat'), atMs: z.number() }),
  z.object({ type: z.literal('exit'), exit: exitSchema }),
  z.object({ type: z.literal('end'), offset: z.int() }),
  z.object({ type: z.literal('evicted'), reason: z.string(), offset: z.int() }),
  z.object({ type: z.literal('error'), error: z.record(z.string(), z.unknown()) }),
])
export type OutputEvent = z.infer<typeof outputEventSchema>
export const signalSchema = z.object({
  signal: z
    .string()
    .regex(/^SIG[A-Z0-9+]{2,12}$/)
    .default('SIGTERM'),
  tree: z.boolean().default(false),
})
