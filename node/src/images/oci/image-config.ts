import { AtollError, type ImageConfig, imageConfigSchema } from '@atoll/protocol'
import type { OciConfig } from './schemas.ts'

/** An OCI config as a template's defaults: entrypoint and command together are the start command. */
export const imageConfigOf = (config: OciConfig, origin: string): ImageConfig => {
  const inner = config.config ?? {}
  const start = [...(inner.Entrypoint ?? []), ...(inner.Cmd ?? [])]
  const parsed = imageConfigSchema.safeParse({
    env: Object.fromEntries((inner.Env ?? []).map(splitVariable)),
    user: inner.User || 'root',
    workdir: inner.WorkingDir || '/',
    start: start.length === 0 ? null : start,
    ready: null,
  })
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  const where = issue?.path.join('.') ?? ''
  throw new AtollError(
    'image_invalid',
    `cannot import ${origin}: its config's ${where}: ${issue?.message ?? 'unfit'}`,
  )
}

const splitVariable = (text: string): [string, string] => {
  const equals = text.indexOf('=')
  return equals < 0 ? [text, ''] : [text.slice(0, equals), text.slice(equals + 1)]
}
