import { randomBytes } from 'node:crypto'
import { systemClock } from '@atoll/kit'
import { createControl } from '@atoll/control'
import { createGateway } from '@atoll/gateway'
import { createNode, type Node } from '@atoll/node'
import type { CreatedKey } from '@atoll/protocol'
import { type Address, urlOf } from './address.ts'
import { listen } from './listen.ts'
import type { Parts } from './simulated-parts.ts'

/** What both control and node write their log with; pino fits. */
export interface Logger {
  info(data: object, message: string): void
  warn(data: object, message: string): void
  error(data: object, message: string): void
}

export interface Composition extends Parts {
  readonly dataFolder: string
  readonly address: Address
  readonly logger: Logger
}

/** All tiers in one process. Disposing stops answering and leaves the sandboxes running (invariant 3). */
export interface Running extends AsyncDisposable {
  readonly url: string
  readonly node: Node
  /** Only at the very first start on a data folder. */
  readonly firstKey: CreatedKey | undefined
}

/** Starts node, control and gateway on one port, in this order: nobody is asked before it can answer. */
export const compose = async (parts: Composition): Promise<Running> => {
  const { dataFolder, logger, drivers, images } = parts
  await using stack = new AsyncDisposableStack()
  const [clock, random] = [systemClock, (bytes: number): Uint8Array => randomBytes(bytes)]
  const node = stack.use(await createNode({ dataFolder, drivers, images, logger, clock, random }))
  const control = await createControl({ dataFolder, node, clock, random, logger })
  stack.defer(() => control.close())
  const gateway = createGateway({ authorize: control.authorize, node: () => node, clock, random, logger })
  stack.defer(() => gateway.close())
  const server = stack.use(
    await listen(
      {
        handle: (req, res) => gateway.handle(req, res),
        upgrade: (req, socket, head) => gateway.upgrade(req, socket, head),
        fallback: (req, res) => control.listener(req, res),
        failed: (error, what) => logger.error({ err: error, request: what }, 'a request failed'),
      },
      parts.address,
    ),
  )
  const held = stack.move()
  return {
    url: urlOf({ ...parts.address, port: server.port }),
    node,
    firstKey: control.firstKey,
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  }
}
