import { stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { streamTool } from '../host/stream-tool.ts'
import { compressTar } from './compress-tar.ts'
import { imageLimits } from './limits.ts'
import type { OnImageProgress } from './progress.ts'

/** What `mmdebstrap` shall make. */
export interface BootstrapRecipe {
  readonly suite: string
  readonly packages: readonly string[]
  /** Lines for dpkg: path-exclude and path-include. */
  readonly pathFilters: readonly string[]
  /** Shell script that is run with the root as $1. */
  readonly customization: string
  /** Lines of sources.list; empty for mmdebstrap's own default. */
  readonly sources: readonly string[]
  readonly output: string
  readonly workDirectory: string
}

/** The archive that came out; `diffId` is the hash of the tar before compression. */
export interface BootstrapResult {
  readonly diffId: string
  readonly archiveBytes: number
  readonly sizeBytes: number
}

/** Debian's packages into a compressed tar. Measured: 90 s on two cores. */
export const bootstrap = async (
  recipe: BootstrapRecipe,
  onProgress: OnImageProgress,
  signal: AbortSignal,
): Promise<BootstrapResult> => {
  const hook = join(recipe.workDirectory, 'customize')
  await writeFile(hook, recipe.customization)
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(imageLimits.bootstrapMs)])
  const written = await streamTool(
    {
      act: 'build base',
      command: ['mmdebstrap', ...argumentsOf(recipe, hook)],
      // It writes its root here and nowhere else, so a killed run leaves nothing that the sweep does not find.
      environment: { TMPDIR: recipe.workDirectory },
      input: `${recipe.sources.join('\n')}\n`,
      remedy: 'apt-get install mmdebstrap erofs-utils',
      signal: deadline,
      onErrorText: (text) => onProgress({ stage: 'bootstrap', subject: recipe.suite, doneBytes: 0, text }),
    },
    (output) => compressTar(output, recipe.output, imageLimits.archiveBytes, deadline),
  )
  return { ...written, sizeBytes: (await stat(recipe.output)).size }
}

const argumentsOf = (recipe: BootstrapRecipe, hook: string): string[] => {
  // The root is thrown away when the tar is written: nothing in it needs to survive a power cut.
  const dpkgOptions = ['force-unsafe-io', ...recipe.pathFilters].map((option) => `--dpkgopt=${option}`)
  return [
    '--mode=root',
    '--variant=minbase',
    '--architectures=amd64',
    '--format=tar',
    '--skip=cleanup/reproducible',
    `--include=${recipe.packages.join(',')}`,
    ...dpkgOptions,
    `--customize-hook=sh '${hook}' "$1"`,
    recipe.suite,
    '-',
    ...(recipe.sources.length > 0 ? ['-'] : []),
  ]
}
