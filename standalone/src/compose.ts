import { randomBytes } from 'node:crypto'
import { systemClock } from '@atoll/kit'
import { createControl } from '@atoll/control'
import { createGateway } from '@atoll/gateway'
import { createNode, type Node } from '@atoll/node'
import type { CreatedKey } from '@atoll/protocol'
import { type Address, urlOf } from './address.ts'
import { listen } from './listen.ts'
import { type Front, localDomain, portUrl, type PublicName, publicUrl } from './public-name.ts'
import type { Parts } from './simulated-parts.ts'
import { followKeyPair, readKeyPair, type TlsFiles } from './tls.ts'

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
  readonly publicName?: PublicName | undefined
  readonly tls?: TlsFiles | undefined
}

/** All tiers in one process. Disposing stops answering and leaves the sandboxes running (invariant 3). */
export interface Running extends AsyncDisposable {
  readonly url: string
  readonly node: Node
  /** Only at the very first start on a data folder. */
  readonly firstKey: CreatedKey | undefined
}

/** The public name, and always names below localhost: a tunnel of one's own to the machine is enough for them. */
const domainsOf = (publicName: PublicName | undefined) => [
  ...(publicName === undefined ? [] : [{ name: publicName.domain, secure: publicName.secure === true }]),
  { name: localDomain, secure: false },
]

/** Starts node, control and gateway on one port, in this order: nobody is asked before it can answer. */
export const compose = async (parts: Composition): Promise<Running> => {
  const { dataFolder, logger, drivers, images, options = {}, publicName, tls } = parts
  await using stack = new AsyncDisposableStack()
  const [clock, random] = [systemClock, (bytes: number): Uint8Array => randomBytes(bytes)]
  const node = stack.use(await createNode({ dataFolder, drivers, images, options, logger, clock, random }))
  const pair = tls === undefined ? undefined : await readKeyPair(tls)
  // Which port it listens at is known last; until then nobody can ask.
  let front: Front = { name: publicName, listeningPort: parts.address.port, tls: tls !== undefined }
  const urlOfPort = (sandbox: string, port: number): string => portUrl(front, sandbox, port)
  const control = await createControl({ dataFolder, node, clock, random, logger, portUrl: urlOfPort })
  stack.defer(() => control.close())
  const gateway = createGateway({
    authorize: control.authorize,
    node: () => node,
    clock,
    random,
    logger,
    ports: {
      authorize: control.authorizePort,
      domains: domainsOf(publicName),
      onStill: (listener) =>
        node.onEvent(({ type, sandbox }) => {
          if (type === 'paused' || type === 'pausing') listener(sandbox)
        }),
    },
  })
  stack.defer(() => gateway.close())
  const server = stack.use(
    await listen(
      {
        handle: (req, res) => gateway.handle(req, res),
        upgrade: (req, socket, head) => gateway.upgrade(req, socket, head),
        decidesContinue: (req) => gateway.decidesContinue(req),
        fallback: (req, res) => control.listener(req, res),
        failed: (error, what) => logger.error({ err: error, request: what }, 'a request failed'),
      },
      parts.address,
      pair,
    ),
  )
  front = { ...front, listeningPort: server.port }
  if (tls !== undefined)
    stack.use(
      followKeyPair(
        tls,
        (next) => {
          server.useKeyPair(next)
          logger.info({ cert: tls.certPath }, 'took a new certificate')
        },
        (error) =>
          logger.error({ err: error }, 'the certificate in the files cannot be used; the former one stays'),
      ),
    )
  const held = stack.move()
  return {
    // Without TLS the CLI on this machine goes to the address itself: the name may lead through a proxy.
    url:
      (tls === undefined ? undefined : publicUrl(front)) ??
      urlOf({ ...parts.address, port: server.port }, tls !== undefined),
    node,
    firstKey: control.firstKey,
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  }
}
