import { createHash } from 'node:crypto'
import type { Exit, OutputEvent } from '@atoll/protocol'
import type { Stack } from '../stack/start-stack.ts'
import { call, expectStatus, open } from './call.ts'

/** A program whose output can be told line by line: the number, and a hash that follows from it. */
const program = (lines: number, pauseMs: number): string => `
import hashlib, sys, time
for number in range(${lines}):
    line = b"%08d %s\\n" % (number, hashlib.sha256(b"%d" % number).hexdigest().encode())
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()
    time.sleep(${pauseMs / 1000})
sys.exit(7)
`

/** The exit code of the program: not 0, so that no default can pass for it. */
export const countedExitCode = 7

/** What a whole run of the program must have written. */
export const expectedOutput = (lines: number): Buffer => {
  const parts: string[] = []
  for (let number = 0; number < lines; number++)
    parts.push(
      `${String(number).padStart(8, '0')} ${createHash('sha256').update(String(number)).digest('hex')}\n`,
    )
  return Buffer.from(parts.join(''))
}

/** Starts the program; its ring holds all it writes, so that a gap is a loss. */
export const startCounted = async (
  stack: Stack,
  sandbox: string,
  process: string,
  shape: { lines: number; pauseMs: number },
): Promise<void> => {
  const answer = await call(stack, 'POST', `/v1/sandboxes/${sandbox}/processes`, {
    body: {
      id: process,
      argv: ['python3', '-c', program(shape.lines, shape.pauseMs)],
      outputLimitBytes: 8 * 1024 ** 2,
    },
  })
  expectStatus(answer, [200, 201], `start ${process}`)
}

export interface Collected {
  readonly bytes: Buffer
  readonly exit: Exit
  /** How often the stream broke and was taken up again at the last offset. */
  readonly breaks: number
}

/**
 * Follows the output to the exit and takes it up again after every break, as a client would. A hole, an overlap
 * or a gap event is an error here, and so is a stream that ends with neither exit nor error.
 */
export const collectOutput = async (
  stack: Stack,
  sandbox: string,
  process: string,
  timeoutMs: number,
): Promise<Collected> => {
  const chunks: Buffer[] = []
  const deadline = AbortSignal.timeout(timeoutMs)
  let offset = 0
  let breaks = 0
  for (;;) {
    const path = `/v1/sandboxes/${sandbox}/processes/${process}/output?offset=${offset}&follow=1`
    const answer = await open(stack, 'GET', path, {
      signal: deadline,
      headers: { accept: 'application/x-ndjson' },
    }).catch(() => undefined)
    if (answer !== undefined && answer.status !== 200 && ![502, 503, 504].includes(answer.status))
      throw new Error(`follow ${process} from ${offset}: answered ${answer.status}: ${await answer.text()}`)
    const exit =
      answer?.status === 200
        ? await takeLines(
            answer,
            chunks,
            () => offset,
            (at) => (offset = at),
          )
        : undefined
    if (exit !== undefined) return { bytes: Buffer.concat(chunks), exit, breaks }
    breaks++
    if (deadline.aborted)
      throw new Error(`no exit of ${process} in ${timeoutMs} ms: ${offset} bytes, ${breaks} breaks`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

const takeLines = async (
  answer: Response,
  chunks: Buffer[],
  offset: () => number,
  moveTo: (offset: number) => void,
): Promise<Exit | undefined> => {
  try {
    for await (const event of eventsOf(answer)) {
      if (event.type === 'gap') throw new LostOutput(`bytes ${event.from} to ${event.to} are lost`)
      if (event.type === 'exit') return event.exit
      if (event.type === 'stdout' || event.type === 'stderr') {
        if (event.offset !== offset())
          throw new LostOutput(`the stream went on at ${event.offset} instead of ${offset()}`)
        const bytes = Buffer.from(event.data, 'base64')
        chunks.push(bytes)
        moveTo(event.offset + bytes.length)
      }
    }
  } catch (error) {
    if (error instanceof LostOutput) throw error
  }
  return undefined
}

class LostOutput extends Error {}

/** Events of an NDJSON answer. A line that is cut off by a break is dropped with the connection. */
export async function* eventsOf(answer: Response): AsyncGenerator<OutputEvent> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const part of answer.body ?? []) {
    rest += decoder.decode(part, { stream: true })
    const lines = rest.split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) if (line !== '') yield JSON.parse(line) as OutputEvent
  }
}
