import { type GuestRequest, processSchema, signalSchema, terminalSizeSchema } from '@atoll/protocol'
import { z } from 'zod'
import { sendJson } from '../answer.ts'
import { askGuestJson, jsonBody } from '../ask-guest.ts'
import type { Call } from '../call.ts'
import { unboundedHeadersMs } from '../limits.ts'
import { readJson } from '../read-body.ts'
import { uploadBody } from '../upload-body.ts'

const pathOf = (call: Call): string => `/v1/processes/${call.names[0]}`

const relay = async (call: Call, request: GuestRequest, schema: z.ZodType): Promise<void> => {
  sendJson(call.response, 200, await askGuestJson(call, { signal: call.gone, ...request }, schema))
}

/** Running processes and kept ones, newest first. */
export const listProcesses = (call: Call): Promise<void> =>
  relay(call, { method: 'GET', path: '/v1/processes' }, z.object({ processes: z.array(processSchema) }))

/** One record. */
export const getProcess = (call: Call): Promise<void> =>
  relay(call, { method: 'GET', path: pathOf(call) }, processSchema)

/** The record once it has ended. */
export const waitForProcess = (call: Call): Promise<void> => {
  const holder = { kind: 'connection' as const, name: `wait for ${call.names[0]}` }
  const request = { method: 'GET' as const, path: `${pathOf(call)}/wait`, holder }
  return relay(call, { ...request, headersTimeoutMs: unboundedHeadersMs }, processSchema)
}

/** Streams bytes to the standard input, at the pace at which the process reads them. */
export const writeStdin = (call: Call): Promise<void> => {
  const close = call.query.get('close') === '1' ? 1 : 0
  const request = {
    method: 'POST' as const,
    path: `${pathOf(call)}/stdin?close=${close}`,
    body: uploadBody(call.request, call.deps.limits),
    holder: { kind: 'connection' as const, name: `input of ${call.names[0]}` },
    headersTimeoutMs: unboundedHeadersMs,
  }
  return relay(call, request, z.object({ bytesWritten: z.number() }))
}

/** Sends a signal, to the process or to its whole tree. */
export const signalProcess = async (call: Call): Promise<void> => {
  const body = await readJson(call, signalSchema)
  const request = { method: 'POST' as const, path: `${pathOf(call)}/signal`, ...jsonBody(body) }
  await relay(call, request, z.object({ delivered: z.number() }))
}

/** Gives a terminal another size. */
export const resizeTerminal = async (call: Call): Promise<void> => {
  const body = await readJson(call, terminalSizeSchema)
  const request = { method: 'POST' as const, path: `${pathOf(call)}/resize`, ...jsonBody(body) }
  await relay(call, request, z.object({}))
}

/** Ends the whole tree and forgets the record, which is the answer. Not undone when the client leaves. */
export const endProcess = async (call: Call): Promise<void> => {
  const record = await askGuestJson(call, { method: 'DELETE', path: pathOf(call) }, processSchema)
  sendJson(call.response, 200, record)
}
