import { AtollError, type GuestResponse } from '@atoll/protocol'
import { z } from 'zod'
import type { GuestConnection } from './connection.ts'
import { readJson } from './read-json.ts'

/** Until the agent has begun to answer with its disk, or has laid one, ms: it reads or writes all of it. */
const layerMs = 600_000
const laidSchema = z.object({ entries: z.number(), bytes: z.number() })

/** The tar of what differs from the template. A stream that fails is no layer. */
export const readLayer = async (
  guest: GuestConnection,
  signal: AbortSignal,
): Promise<GuestResponse['body']> => {
  const request = { method: 'GET', path: '/v1/layer', headersTimeoutMs: layerMs, signal } as const
  const response = await guest.request(request)
  if (response.status < 400) return response.body
  await readJson(response, z.unknown(), "cannot read the guest's disk")
  throw new AtollError('internal', `cannot read the guest's disk: it answered ${response.status}`)
}

/** Lays such a tar over a root that nobody has used yet. */
export const putLayer = async (
  guest: GuestConnection,
  tar: AsyncIterable<Uint8Array>,
  sizeBytes: number,
  signal: AbortSignal,
): Promise<void> => {
  const headers = { 'content-type': 'application/x-tar', 'content-length': String(sizeBytes) }
  const request = { method: 'PUT', path: '/v1/layer', headers, headersTimeoutMs: layerMs, signal } as const
  await readJson(await guest.request({ ...request, body: tar }), laidSchema, "cannot lay the guest's disk")
}
