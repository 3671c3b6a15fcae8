import { deserialize, serialize } from 'node:v8'
import { AtollError } from '@atoll/protocol'
import { answerJson, type Call, readAll } from './call.ts'
import type { Tree } from './tree.ts'

/** Bytes of a layer: it is held whole. */
const layerBytes = 256 * 1024 ** 2

/** GET and PUT of all files. No tar, but what this very build understands: nobody else ever unpacks it. */
export const layerRoutes = async (call: Call): Promise<void> => {
  const { guest, stream } = call
  if (call.method === 'GET') {
    stream.respond({ ':status': 200, 'content-type': 'application/octet-stream' })
    return void stream.end(serialize(guest.tree))
  }
  if (call.method !== 'PUT') throw new AtollError('not_found', `${call.method} ${call.path}: no such call`)
  const bytes = await readAll(call, layerBytes)
  if (guest.identity !== undefined)
    throw new AtollError('state_conflict', 'cannot lay a layer: this guest has been somebody already')
  const { limitBytes } = guest.tree
  try {
    const tree: Tree = deserialize(bytes)
    Object.assign(guest.tree, { ...tree, limitBytes })
  } catch (error) {
    throw new AtollError('invalid_request', 'cannot lay a layer: it is not whole', { cause: error })
  }
  answerJson(call, 200, { entries: guest.tree.root.entries.size, bytes: bytes.byteLength })
}
