import { spawn } from 'node:child_process'
import { stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { AtollError, scrub } from '@atoll/protocol'
import { compressTar } from './compress-tar.ts'
import { imageLimits } from './limits.ts'
import type { OnImageProgress } from './progress.ts'
import { lastLines } from './run-tool.ts'

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
  const child = spawn('mmdebstrap', argumentsOf(recipe, hook), {
    // It writes its root here and nowhere else, so a killed run leaves nothing that the sweep does not find.
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C.UTF-8', TMPDIR: recipe.workDirectory },
    stdio: ['pipe', 'pipe', 'pipe'],
    cwd: '/',
  })
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  const stop = () => child.kill('SIGTERM')
  deadline.addEventListener('abort', stop, { once: true })
  let log = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log = (log + text).slice(-imageLimits.toolErrorBytes)
    onProgress({ stage: 'bootstrap', subject: recipe.suite, doneBytes: 0, text: scrub(text.trim()) })
  })
  try {
    child.stdin.on('error', () => {}) // A program that is missing or dies early says so by its end.
    child.stdin.end(`${recipe.sources.join('\n')}\n`)
    const [written, code] = await Promise.all([
      compressTar(child.stdout, recipe.output, imageLimits.archiveBytes, deadline),
      ended,
    ])
    deadline.throwIfAborted()
    if (code !== 0)
      throw new AtollError('internal', `cannot build base: mmdebstrap failed: ${lastLines(log)}`)
    return { ...written, sizeBytes: (await stat(recipe.output)).size }
  } catch (error) {
    deadline.throwIfAborted()
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
      throw new AtollError('runtime_unavailable', 'cannot build base: mmdebstrap is not installed', {
        cause: error,
        remedy: 'apt-get install mmdebstrap erofs-utils',
      })
    }
    throw error
  } finally {
    deadline.removeEventListener('abort', stop)
  }
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
