import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import {
  AtollError,
  processIdSchema,
  signalSchema,
  startProcessSchema,
  terminalSizeSchema,
} from '@atoll/protocol'
import { answerJson, type Call, readBody } from './call.ts'
import { outputStream } from './follow.ts'
import { startProcess } from './processes.ts'
import type { SimulatedProcess } from './simulated-process.ts'

/** Everything under /v1/processes. */
export const processRoutes = async (call: Call, rest: readonly string[]): Promise<void> => {
  const [id, verb] = rest
  if (id === undefined) {
    const all = [...call.guest.processes.values()].map((process) => process.record()).toReversed()
    return answerJson(call, 200, { processes: all })
  }
  if (verb === undefined && call.method === 'PUT') return await start(call, id)
  const process = call.guest.processes.get(id)
  if (process === undefined) throw new AtollError('process_not_found', `there is no process ${id}`)
  switch (`${call.method} ${verb ?? ''}`) {
    case 'GET ':
      return answerJson(call, 200, process.record())
    case 'GET wait':
      return answerJson(call, 200, await process.ended)
    case 'GET output':
      return await output(call, process)
    case 'POST stdin':
      return await stdin(call, process)
    case 'POST signal': {
      const { signal } = await readBody(call, signalSchema)
      if (!process.signal(signal)) throw new AtollError('process_ended', `process ${id} has ended`)
      return answerJson(call, 200, { delivered: 1 })
    }
    case 'POST resize':
      await readBody(call, terminalSizeSchema)
      return answerJson(call, 200, {})
    case 'DELETE ':
      process.signal('SIGKILL')
      await process.ended
      call.guest.processes.delete(id)
      return answerJson(call, 200, process.record())
    default:
      throw new AtollError('not_found', `${call.method} ${call.path}: no such call`)
  }
}

const start = async (call: Call, id: string): Promise<void> => {
  if (!processIdSchema.safeParse(id).success)
    throw new AtollError('invalid_request', 'a process id has 1 to 64 letters, digits, _ and -')
  const { process, isNew } = startProcess(call.guest, id, await readBody(call, startProcessSchema))
  if (call.query.get('follow') === '1') return await output(call, process, isNew ? 201 : 200)
  answerJson(call, isNew ? 201 : 200, process.record())
}

const output = async (call: Call, process: SimulatedProcess, startedStatus?: 200 | 201): Promise<void> => {
  const offset = call.query.get('offset')
  if (offset !== null && !/^\d{1,15}$/.test(offset))
    throw new AtollError('invalid_request', `offset ${offset} is no number`)
  call.stream.respond({ ':status': startedStatus ?? 200, 'content-type': 'application/vnd.atoll.output' })
  const frames = outputStream(process, {
    offset: offset === null ? undefined : Number(offset),
    follow: startedStatus !== undefined || call.query.get('follow') === '1',
    started: startedStatus !== undefined,
    monotonic: call.guest.monotonic,
  })
  await pipeline(Readable.from(frames), call.stream)
}

const stdin = async (call: Call, process: SimulatedProcess): Promise<void> => {
  let bytesWritten = 0
  for await (const chunk of call.stream) {
    if (process.stdin.closed) throw new AtollError('stdin_closed', `nobody reads the input of ${process.id}`)
    await process.stdin.write(chunk)
    bytesWritten += chunk.byteLength
  }
  if (process.stdin.closed && bytesWritten === 0 && call.query.get('close') !== '1')
    throw new AtollError('stdin_closed', `nobody reads the input of ${process.id}`)
  if (call.query.get('close') === '1') process.stdin.close()
  answerJson(call, 200, { bytesWritten })
}
