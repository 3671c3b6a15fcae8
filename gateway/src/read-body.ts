import type { IncomingMessage } from 'node:http'
import { AtollError, limits as shared } from '@atoll/protocol'
import type { z } from 'zod'
import type { Call } from './call.ts'

/** Reads a JSON body, bounded in size and time, and parses it at the edge. */
export const readJson = async <Schema extends z.ZodType>(
  call: Call,
  schema: Schema,
): Promise<z.output<Schema>> => {
  const text = await readText(call.request, call.deps.limits.jsonBodyMs)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new AtollError('invalid_request', 'body: is not well-formed JSON; send a JSON object')
  }
  return parse(schema, value, 'body')
}

/** Parses what a client gave; the refusal names the fields, and not their values. */
export const parse = <Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  where: string,
): z.output<Schema> => {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const issues = parsed.error.issues.slice(0, 8).map((issue) => ({
    path: issue.path.map(String).join('.'),
    message: issue.message,
  }))
  const told = issues.map((issue) => `${issue.path === '' ? where : issue.path}: ${issue.message}`).join('; ')
  throw new AtollError('invalid_request', `the request does not fit: ${told}`, { details: { where, issues } })
}

const readText = (request: IncomingMessage, maxMs: number): Promise<string> =>
  new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let received = 0
    const late = setTimeout(
      () =>
        fail(new AtollError('deadline_client', `the body was not here within ${maxMs} ms; send it at once`)),
      maxMs,
    )
    const fail = (error: AtollError): void => {
      clearTimeout(late)
      request.off('data', onData)
      reject(error)
    }
    const onData = (chunk: Buffer): void => {
      received += chunk.length
      if (received <= shared.jsonBodyBytes) return void chunks.push(chunk)
      fail(new AtollError('payload_too_large', `the body is over ${shared.jsonBodyBytes} bytes; send less`))
    }
    request.on('data', onData)
    request.once('end', () => {
      clearTimeout(late)
      resolve(Buffer.concat(chunks).toString())
    })
    request.once('close', () =>
      fail(new AtollError('canceled', 'the client went away in the middle of its body')),
    )
  })
