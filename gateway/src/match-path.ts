import { processIdSchema, sandboxIdSchema } from '@atoll/protocol'

/** A path of the data plane, taken apart. */
export interface Match {
  readonly sandbox: string
  /** The route's name below the sandbox, process ids as `*`. */
  readonly route: string
  readonly names: readonly string[]
  readonly query: URLSearchParams
}

const areas = new Set(['processes', 'files', 'tar', 'metrics'])

/**
 * Takes a raw address apart, without decoding or normalizing: dots, empty segments and escaped slashes
 * match nothing. Undefined for what is not the data plane's.
 */
export const matchPath = (url: string): Match | undefined => {
  const mark = url.indexOf('?')
  const path = mark < 0 ? url : url.slice(0, mark)
  const [empty, version, collection, sandbox, area, ...rest] = path.split('/')
  if (empty !== '' || version !== 'v1' || collection !== 'sandboxes') return undefined
  if (sandbox === undefined || area === undefined || !areas.has(area)) return undefined
  if (!sandboxIdSchema.safeParse(sandbox).success) return undefined
  const query = new URLSearchParams(mark < 0 ? '' : url.slice(mark + 1))
  const [first, ...others] = rest
  if (area !== 'processes' || first === undefined)
    return { sandbox, route: [area, ...rest].join('/'), names: [], query }
  const id = processIdSchema.safeParse(first)
  const name = id.success ? '*' : first
  return { sandbox, route: [area, name, ...others].join('/'), names: id.success ? [first] : [], query }
}
