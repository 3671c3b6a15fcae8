import type { BuildEvent, NodeBuild, NodeImage } from '@atoll/protocol'

/** What the daemon writes about itself; pino fits. */
export interface Logger {
  info(data: object, message: string): void
  warn(data: object, message: string): void
  error(data: object, message: string): void
}

/** The node's images, as the machines need them; node/src/images and runtimes/simulated provide it. */
export interface Images {
  /** Absolute path of a verified image. `not_found` when the node has none of that digest. */
  open(digest: string, signal: AbortSignal): Promise<{ readonly path: string }>
  list(): Promise<readonly NodeImage[]>
  build(build: NodeBuild, onEvent: (event: BuildEvent) => void, signal: AbortSignal): Promise<NodeImage>
  /** `in_use` when the digest is among those in use. */
  delete(digest: string, inUse: ReadonlySet<string>): Promise<void>
  receiveUpload(
    sha256: string,
    body: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<{ sizeBytes: number }>
}
