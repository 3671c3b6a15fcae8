import { z } from 'zod'
import { errorBodySchema } from './atoll-error.ts'
import { type SandboxId, sandboxIdSchema } from './ids.ts'
import { limits } from './limits.ts'

/** A TCP port inside a sandbox. */
export const portNumberSchema = z.int().min(1).max(65_535)

/** `private` needs a token or a key; `public` lets anyone in who can reach the gateway. */
export const portAccessSchema = z.enum(['private', 'public'])
export type PortAccess = z.infer<typeof portAccessSchema>

/** The body of PUT /v1/sandboxes/{id}/ports/{port}: all of its settings, so that a repeated call is the same. */
export const setPortSchema = z.object({
  access: portAccessSchema.default('private'),
  /** The server inside sees `localhost:port` as Host, as dev servers want it; false: the public name. */
  maskHost: z.boolean().default(true),
})
export type SetPortInput = z.input<typeof setPortSchema>

/** How a port can be reached. One that nobody set is private. */
export const portSchema = z.object({
  sandbox: sandboxIdSchema,
  port: portNumberSchema,
  access: portAccessSchema,
  maskHost: z.boolean(),
  /** Where a browser finds it. */
  url: z.string(),
})
export type Port = z.infer<typeof portSchema>

/** Ms that a link may be good for: a second to a week, an hour where nothing is asked. */
export const portLinkExpiry = { minMs: 1_000, defaultMs: 3_600_000, maxMs: 7 * 86_400_000 } as const

/** The body of POST /v1/sandboxes/{id}/ports/{port}/links. */
export const createPortLinkSchema = z.object({
  expiresInMs: z.int().min(portLinkExpiry.minMs).max(portLinkExpiry.maxMs).default(portLinkExpiry.defaultMs),
  /** Path and query that the link opens. */
  path: z
    .string()
    .max(limits.pathBytes)
    .regex(/^\/[\x21-\x22\x24-\x7e]*$/, 'must begin with / and be percent-encoded, without #')
    .default('/'),
})
export type CreatePortLinkInput = z.input<typeof createPortLinkSchema>

/** A link that opens one port of one sandbox until it expires; `token` is what it carries, for headers. */
export const portLinkSchema = z.object({
  url: z.string(),
  token: z.string(),
  expiresAtMs: z.number(),
})
export type PortLink = z.infer<typeof portLinkSchema>

/** Names that the gateway reads, and that never reach a sandbox. */
export const portNames = {
  sandboxHeader: 'x-atoll-sandbox',
  portHeader: 'x-atoll-port',
  tokenHeader: 'x-atoll-port-token',
  tokenQuery: 'atoll_token',
  /** Of a WebSocket: the tunnel, and a token for clients that can set no header. */
  tunnelProtocol: 'atoll.tunnel',
  tokenProtocolPrefix: 'atoll.token.',
} as const

/**
 * The first label of a port's host name: `3000-sbx-` and the id's 20 characters. The underscore of an id becomes a
 * hyphen, because host names have none; ids are never reused, so a name never means another sandbox.
 */
export const portHostLabel = (sandbox: string, port: number): string => `${port}-${sandbox.replace('_', '-')}`

/** What a label names; undefined for any that `portHostLabel` would not make. */
export const parsePortHostLabel = (label: string): { sandbox: SandboxId; port: number } | undefined => {
  const match = /^([1-9]\d{0,4})-sbx-([a-z2-7]{20})$/.exec(label)
  const port = portNumberSchema.safeParse(Number(match?.[1]))
  const sandbox = sandboxIdSchema.safeParse(`sbx_${match?.[2]}`)
  return port.success && sandbox.success ? { sandbox: sandbox.data, port: port.data } : undefined
}

/** Bytes that a tunnel's side may send before the other one said that it took them. */
export const tunnelWindowBytes = 1024 * 1024

/**
 * Text messages of a tunnel; its bytes are binary messages. `end`: no more bytes come from this side (half-close).
 * `taken`: so many bytes were passed on, and as many more may be sent. The gateway's first is
 * `connected` or `refused`, told here because a browser shows a WebSocket's status to nobody.
 */
export const tunnelMessageSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('connected') }),
  z.object({ type: z.literal('end') }),
  z.object({ type: z.literal('taken'), bytes: z.int().min(1).max(tunnelWindowBytes) }),
  z.object({ type: z.literal('refused'), error: errorBodySchema }),
])
export type TunnelMessage = z.infer<typeof tunnelMessageSchema>
