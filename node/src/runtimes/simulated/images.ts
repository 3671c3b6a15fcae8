import { createHash } from 'node:crypto'
import { AtollError, type ImageConfig, type NodeBuild, type NodeImage } from '@atoll/protocol'
import type { Clock } from '@atoll/kit'
import type { Images } from '../../machines/ports.ts'
import { applyStep, changesFiles } from '../../images/build/apply-step.ts'

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')

/** Digest of the one image that is always there. */
export const simulatedBaseDigest = sha256('atoll simulated base')

const baseConfig: ImageConfig = { env: {}, user: 'user', workdir: '/home/user', start: null, ready: null }

/** Images in memory for the simulated runtime: defaults without files. Steps that need a shell are refused. */
export const simulatedImages = (clock: Clock): Images => {
  const images = new Map<string, NodeImage>()
  const add = (digest: string, config: ImageConfig): NodeImage => {
    const image = { digest, sizeBytes: 0, config, createdAtMs: clock.now() }
    images.set(digest, image)
    return image
  }
  const known = (digest: string): NodeImage => {
    const image = images.get(digest)
    if (image === undefined) throw new AtollError('not_found', `there is no image ${digest}`)
    return image
  }
  add(simulatedBaseDigest, baseConfig)
  return {
    open: async (digest) => ({ path: `simulated:${known(digest).digest}` }),
    list: async () => [...images.values()],
    build: async (build, onEvent, signal) => {
      signal.throwIfAborted()
      const parent = parentOf(build, known)
      let { config } = parent
      for (const [index, step] of build.steps.entries()) {
        onEvent({ type: 'step', atMs: clock.now(), step: index, instruction: step.type, cached: false })
        config = defaultsAfter(config, step)
      }
      const image = add(sha256(JSON.stringify([parent.digest, config])), config)
      onEvent({ type: 'done', atMs: clock.now(), imageDigest: image.digest })
      return image
    },
    delete: async (digest, inUse) => {
      known(digest)
      if (inUse.has(digest))
        throw new AtollError('in_use', `cannot delete image ${digest}: a sandbox uses it`)
      images.delete(digest)
    },
    receiveUpload: async (wanted, body, signal) => {
      const hash = createHash('sha256')
      let sizeBytes = 0
      for await (const chunk of body) {
        signal.throwIfAborted()
        hash.update(chunk)
        sizeBytes += chunk.byteLength
      }
      if (hash.digest('hex') !== wanted)
        throw new AtollError('hash_mismatch', `the upload is not ${wanted}; nothing was kept`)
      return { sizeBytes }
    },
  }
}

const parentOf = (build: NodeBuild, known: (digest: string) => NodeImage): NodeImage => {
  switch (build.source.type) {
    case 'base':
      return known(simulatedBaseDigest)
    case 'image':
      return known(build.source.digest)
    default:
      throw new AtollError('unsupported', `the simulated runtime cannot build from ${build.source.type}`)
  }
}

const defaultsAfter = (config: ImageConfig, step: NodeBuild['steps'][number]): ImageConfig => {
  if (!changesFiles(step)) return applyStep(config, step)
  throw new AtollError('unsupported', `the simulated runtime cannot do a ${step.type} step in a build`)
}
