import {
  entrySchema,
  type GuestRequest,
  makeSchema,
  metricsSchema,
  moveSchema,
  removeSchema,
} from '@atoll/protocol'
import { z } from 'zod'
import { sendJson } from '../answer.ts'
import { askGuestJson, jsonBody } from '../ask-guest.ts'
import type { Call } from '../call.ts'
import { readJson } from '../read-body.ts'
import { fileQuery } from './query.ts'

const relay = async (call: Call, request: GuestRequest, schema: z.ZodType): Promise<void> => {
  sendJson(call.response, 200, await askGuestJson(call, request, schema))
}

/** One entry, links not followed. */
export const statFile = (call: Call): Promise<void> =>
  relay(
    call,
    { method: 'GET', path: `/v1/files/stat?${fileQuery(call, [])}`, signal: call.gone },
    entrySchema,
  )

const listingSchema = z.object({ entries: z.array(entrySchema), truncated: z.boolean() })

/** Entries below a folder. */
export const listFiles = (call: Call): Promise<void> => {
  const path = `/v1/files/list?${fileQuery(call, ['depth', 'limit'])}`
  return relay(call, { method: 'GET', path, signal: call.gone }, listingSchema)
}

export const moveFile = async (call: Call): Promise<void> => {
  const body = jsonBody(await readJson(call, moveSchema))
  await relay(call, { method: 'POST', path: '/v1/files/move', ...body }, entrySchema)
}

export const removeFile = async (call: Call): Promise<void> => {
  const body = jsonBody(await readJson(call, removeSchema))
  await relay(call, { method: 'POST', path: '/v1/files/remove', ...body }, z.object({ removed: z.number() }))
}

/** Makes a folder. */
export const makeFolder = async (call: Call): Promise<void> => {
  const body = jsonBody(await readJson(call, makeSchema))
  await relay(call, { method: 'POST', path: '/v1/files/make', ...body }, entrySchema)
}

/** What the sandbox uses now. Passive: does not keep it from being idle. */
export const readMetrics = (call: Call): Promise<void> =>
  relay(call, { method: 'GET', path: '/v1/metrics', signal: call.gone }, metricsSchema)
