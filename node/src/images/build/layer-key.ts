import type { ImageConfig, Step } from '@atoll/protocol'
import { canonicalJson, hashText } from '../hash-file.ts'

/** Changes when steps come to mean something else. */
const keyVersion = 1

/** The key of what a build begins with: its content, so that another agent keeps the cache. */
export const firstKey = (layers: readonly string[]): string => hashText(canonicalJson([keyVersion, layers]))

/** The key after a step: what was before, the step, the defaults that it runs with, and what it copies. */
export const nextKey = (
  before: string,
  step: Step,
  config: ImageConfig,
  contentHash: string | null,
): string => {
  const { env, user, workdir } = config
  return hashText(canonicalJson([keyVersion, before, step, { env, user, workdir }, contentHash]))
}
