import { randomUUID } from 'node:crypto'
import { AtollError, type BuildEvent, type ImageConfig, type Step } from '@atoll/protocol'
import type { BuildSandbox, OpenBuildSandbox } from '../build-sandbox.ts'
import { deleteImage } from '../delete-image.ts'
import type { ImageRecord } from '../image-record.ts'
import type { ImageStore } from '../image-store.ts'
import { makeImage, putImage } from '../make-image.ts'
import type { OnImageProgress } from '../progress.ts'
import { type FileStep, applyStep, changesFiles, instructionOf } from './apply-step.ts'
import { type CachedLayer, findLayer, keepLayer } from './layer-cache.ts'
import { firstKey, nextKey } from './layer-key.ts'
import { runCommand, takeCopied } from './run-step.ts'

/** What a build needs of the world. */
export interface BuildDeps {
  readonly store: ImageStore
  readonly openSandbox: OpenBuildSandbox
}

/** What to build. */
export interface BuildPlan {
  readonly parent: ImageRecord
  readonly steps: readonly Step[]
  /** Archive with what copy steps name; a path of the blob cache. */
  readonly contextPath: string | null
  readonly noCache: boolean
  readonly origin: string
}

type OnEvent = (event: BuildEvent) => void

/**
 * Runs the steps over the parent, each in the same sandbox as the one before; after each that changes files the root
 * is kept under a key, and a build with the same steps goes on from there. An error names its step.
 */
export const buildTemplate = async (
  deps: BuildDeps,
  plan: BuildPlan,
  onEvent: OnEvent,
  signal: AbortSignal,
): Promise<ImageRecord> => {
  await using build = openBuild(deps, plan, onEvent, signal)
  let config = plan.parent.config
  for (const [index, step] of plan.steps.entries()) {
    signal.throwIfAborted()
    try {
      if (changesFiles(step)) {
        await build.change(index, step, config)
      } else {
        onEvent({ ...at(deps), type: 'step', step: index, instruction: instructionOf(step), cached: false })
        config = applyStep(config, step)
      }
    } catch (error) {
      signal.throwIfAborted()
      const failure = failureOf(error, index, plan.steps.length, step)
      onEvent({
        ...at(deps),
        type: 'error',
        step: index,
        instruction: instructionOf(step),
        error: { ...failure.toBody() },
      })
      throw failure
    }
  }
  const image = await build.finish(config)
  onEvent({ ...at(deps), type: 'done', imageDigest: image.digest })
  return image
}

const at = ({ store }: BuildDeps): { atMs: number } => ({ atMs: store.now() })

const failureOf = (error: unknown, index: number, count: number, step: Step): AtollError => {
  const inner = error instanceof AtollError ? error : undefined
  const why = inner?.message ?? (error instanceof Error ? error.message : String(error))
  const code = inner === undefined || inner.code === 'build_failed' ? 'build_failed' : inner.code
  return new AtollError(code, `step ${index + 1} of ${count} (${instructionOf(step)}) ${why}`, {
    cause: error,
    details: { ...inner?.details, step: index, instruction: instructionOf(step) },
  })
}

const openBuild = (deps: BuildDeps, plan: BuildPlan, onEvent: OnEvent, signal: AbortSignal) => {
  const { store } = deps
  let key = firstKey(plan.parent.rootfs.description.layers)
  let layer: CachedLayer | undefined
  let sandbox: BuildSandbox | undefined
  let temporary: string | undefined

  const onProgress: OnImageProgress = ({ stage, subject, doneBytes, totalBytes }) =>
    onEvent({
      ...at(deps),
      type: 'progress',
      text: `${stage} ${subject}`,
      doneBytes,
      ...(totalBytes === undefined ? {} : { totalBytes }),
    })
  const make = (from: CachedLayer, config: ImageConfig, origin: string): Promise<ImageRecord> => {
    const layers = [{ path: from.blob.path, diffId: from.diffId, flavour: 'root' as const }]
    return makeImage(store, { layers, config, origin }, onProgress, signal)
  }
  /** What the sandbox boots from: the parent, or the last layer as an image that goes with the build. */
  const between = async (config: ImageConfig): Promise<string> => {
    if (layer === undefined) return plan.parent.digest
    const origin = `between steps of a build, ${randomUUID()}`
    const made = await make(layer, config, origin)
    if (made.origin === origin) temporary = made.digest
    return made.digest
  }
  const takeLayer = async (next: CachedLayer): Promise<void> => {
    const before = layer
    layer = next
    await before?.blob[Symbol.asyncDispose]()
  }

  return {
    /** A step that changes files: from the cache, or run and then kept. */
    change: async (index: number, step: FileStep, config: ImageConfig): Promise<void> => {
      await using copied =
        step.type === 'copy' ? await takeCopied(store, step, config, plan.contextPath, signal) : null
      key = nextKey(key, step, config, copied?.contentHash ?? null)
      // Once a sandbox runs its root is ahead of every layer, and only it knows what comes next.
      const usable = sandbox === undefined && !plan.noCache
      const cached = usable ? await findLayer(store, key, signal) : undefined
      const instruction = instructionOf(step)
      onEvent({ ...at(deps), type: 'step', step: index, instruction, cached: cached !== undefined })
      if (cached !== undefined) return takeLayer(cached)
      sandbox ??= await deps.openSandbox(await between(config), signal)
      const onText = (text: string) => onEvent({ ...at(deps), type: 'output', step: index, text })
      if (step.type === 'run') await runCommand(sandbox, step, config, onText, signal)
      else await copied?.into(sandbox, signal)
      return takeLayer(await keepLayer(store, key, await sandbox.exportRoot(signal), signal))
    },
    finish: async (config: ImageConfig): Promise<ImageRecord> => {
      const image =
        layer === undefined
          ? await putImage(store, plan.parent.rootfs, config, plan.origin)
          : await make(layer, config, plan.origin)
      if (image.digest === temporary) temporary = undefined
      return image
    },
    [Symbol.asyncDispose]: async () => {
      await using stack = new AsyncDisposableStack()
      stack.defer(async () => {
        if (temporary !== undefined) await deleteImage(store, temporary, new Set())
      })
      if (layer !== undefined) stack.use(layer.blob)
      if (sandbox !== undefined) stack.use(sandbox)
    },
  }
}
