import { join } from 'node:path'
import { AtollError, isErrorCode } from '@atoll/protocol'
import { z } from 'zod'
import { readJson } from './files.ts'
import { receiptSchema } from './launcher.ts'
import { connectUnix } from './unix-socket.ts'

/** Longest answer of a shim, bytes. */
const answerBytes = 2 * 1024 * 1024

const exitSchema = z.object({
  cause: z.enum(['killed', 'exited', 'oom', 'deadline', 'fault']),
  code: z.int().nullable(),
  signal: z.string().nullable(),
  oomKills: z.int(),
  atUnixMs: z.int(),
  message: z.string(),
  receipt: receiptSchema.nullish(),
})
/** exit.json of docs/reference/launcher-protocol.md. */
export type ShimExit = z.infer<typeof exitSchema>

export const statusSchema = z.object({
  state: z.enum(['running', 'frozen', 'ended']),
  runtimePid: z.int().nullable(),
  runtimeStartTime: z.int().nullable(),
  shimPid: z.int(),
  sparePid: z.int().nullable(),
  exit: exitSchema.nullable(),
})
export const usageSchema = z.object({
  memoryBytes: z.int(),
  memoryPeakBytes: z.int(),
  memoryLimitBytes: z.int(),
  cpuMs: z.int(),
  pids: z.int(),
  oomKills: z.int(),
  pidsLimitHits: z.int(),
})
export const limitsSchema = z.object({ memoryBytes: z.int(), cpuMillis: z.int(), pids: z.int() })
export const destroyedSchema = z.object({ receipt: receiptSchema.nullable() })
export const deadlineSchema = z.object({
  unixMs: z.int().nullable(),
  action: z.enum(['kill', 'freeze']).default('kill'),
})
export { exitSchema }

/** The end of a sandbox, from disk; undefined while there is none. */
export const readExit = async (directory: string): Promise<ShimExit | undefined> => {
  const value = await readJson(join(directory, 'exit.json'))
  return value === undefined ? undefined : exitSchema.parse(value)
}

/** One question to the shim. A shim that is not there is `node_unreachable`. */
export const askShim = async <Answer>(
  directory: string,
  question: { readonly do: string } & Readonly<Record<string, unknown>>,
  schema: z.ZodType<Answer>,
  signal: AbortSignal,
): Promise<Answer> => {
  const line = await exchange(directory, question, signal)
  const answer: unknown = JSON.parse(line)
  const failed = z.object({ ok: z.literal(false), code: z.string(), message: z.string() }).safeParse(answer)
  if (!failed.success) return schema.parse(answer)
  const { code, message } = failed.data
  throw new AtollError(isErrorCode(code) ? code : 'internal', `cannot ${question.do}: ${message}`)
}

const exchange = async (
  directory: string,
  question: { readonly do: string },
  signal: AbortSignal,
): Promise<string> => {
  const lost = (cause: unknown): AtollError =>
    new AtollError('node_unreachable', `cannot reach the shim of ${directory}`, { cause })
  const socket = await connectUnix(join(directory, 'shim.sock'), signal).catch((error: unknown) => {
    signal.throwIfAborted()
    throw lost(error)
  })
  // The wait for an exit lasts as long as the sandbox and must not keep the daemon alive.
  if (question.do === 'waitExit') socket.unref()
  const onAbort = (): void => void socket.destroy()
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    socket.write(`${JSON.stringify(question)}\n`)
    socket.setEncoding('utf8')
    let text = ''
    for await (const part of socket) {
      text += String(part)
      const end = text.indexOf('\n')
      if (end >= 0) return text.slice(0, end)
      if (text.length > answerBytes) throw new Error('the answer is too long')
    }
    throw new Error('the shim closed without an answer')
  } catch (error) {
    signal.throwIfAborted()
    throw lost(error)
  } finally {
    signal.removeEventListener('abort', onAbort)
    socket.destroy()
  }
}
