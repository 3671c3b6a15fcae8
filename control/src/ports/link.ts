import { type createPortLinkSchema, type PortLink, portNames, sandboxIdSchema } from '@atoll/protocol'
import type { z } from 'zod'
import type { Caller, Context } from '../context.ts'
import { recordAct } from '../events/record-act.ts'
import { findSandbox, refuseEnded } from '../sandboxes/find.ts'
import { signPortToken } from './port-token.ts'

/** A link that opens one port of one sandbox, and nothing else, until it expires or its key is revoked. */
export const linkPort = async (
  context: Context,
  caller: Caller,
  id: string,
  port: number,
  { expiresInMs, path }: z.infer<typeof createPortLinkSchema>,
): Promise<PortLink> => {
  const found = await findSandbox(context, caller, id)
  refuseEnded(found, 'make a link into')
  const expiresAtMs = context.clock.now() + expiresInMs
  const sandbox = sandboxIdSchema.parse(found.id)
  const token = signPortToken(context.tokenKey, { sandbox, port, expiresAtMs, key: caller.key })
  await recordAct(context, caller, sandbox, 'port.link', { port, expiresAtMs })
  const joint = path.includes('?') ? '&' : '?'
  const url = `${context.portUrl(sandbox, port)}${path}${joint}${portNames.tokenQuery}=${token}`
  return { url, token, expiresAtMs }
}
