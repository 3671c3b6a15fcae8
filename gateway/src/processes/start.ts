import { createHash } from 'node:crypto'
import {
  AtollError,
  type GuestRequest,
  processSchema,
  type StartProcess,
  startProcessSchema,
} from '@atoll/protocol'
import { sendJson } from '../answer.ts'
import { askGuestJson, jsonBody } from '../ask-guest.ts'
import type { Call } from '../call.ts'
import { readJson } from '../read-body.ts'
import { writeInput } from './input.ts'
import { runBuffered } from './run-buffered.ts'
import { runStreamed } from './run-streamed.ts'
import type { Start } from './start-request.ts'

/** Starts a process: answers with its record at once, with its output as it comes, or with its end. */
export const startProcess = async (call: Call): Promise<void> => {
  const body = await readJson(call, startProcessSchema)
  const id = body.id ?? idOf(call)
  const streamed = (call.request.headers.accept ?? '').includes('application/x-ndjson')
  const buffered = call.query.get('wait') === '1'
  const start: Start = { id, body, request: requestOf(id, body, streamed || buffered) }
  try {
    if (streamed) await runStreamed(call, start)
    else if (buffered) await runBuffered(call, start)
    else await startOnly(call, start)
  } catch (error) {
    throw body.id === undefined ? keyConflict(call, error) : error
  }
}

const startOnly = async (call: Call, start: Start): Promise<void> => {
  const { id, body } = start
  const record = await askGuestJson(call, start.request, processSchema)
  if (body.input !== undefined && call.deps.inputs.claim(call.sandbox, id, false))
    await writeInput(call, start)
  sendJson(call.response, 201, record)
}

/** The id stood for the key, and the key was used for something else. */
const keyConflict = (call: Call, error: unknown): unknown => {
  const key = call.request.headers['idempotency-key']
  if (typeof key !== 'string' || !(error instanceof AtollError) || error.code !== 'conflict') return error
  return new AtollError(
    'idempotency_conflict',
    `the Idempotency-Key ${key.slice(0, 128)} was used with other parameters; take a new key for a new call`,
  )
}

/**
 * Without an id of the client's: one made of its Idempotency-Key, so that a retry meets the process that
 * the first try started (the guest knows ids, and keeps no other memory), or a random one.
 */
const idOf = (call: Call): string => {
  const key = call.request.headers['idempotency-key']
  if (typeof key !== 'string') return `p_${Buffer.from(call.deps.random(16)).toString('hex')}`
  const sum = createHash('sha256').update(call.access.project).update('\n').update(key)
  return `k_${sum.digest('hex').slice(0, 48)}`
}

const requestOf = (id: string, body: StartProcess, follow: boolean): GuestRequest => {
  const argv = body.argv ?? ['/bin/sh', '-c', body.shell]
  const { env, cwd, user, terminal, timeoutMs, outputLimitBytes, survivors } = body
  const stdin = body.input === undefined ? body.stdin : 'pipe'
  const optional = Object.entries({ cwd, user, terminal, timeoutMs, outputLimitBytes })
  const given = Object.fromEntries(optional.filter(([, value]) => value !== undefined))
  return {
    method: 'PUT',
    path: `/v1/processes/${id}${follow ? '?follow=1' : ''}`,
    holder: { kind: 'process', name: id },
    ...jsonBody({ argv, env, stdin, survivors, ...given }),
  }
}
