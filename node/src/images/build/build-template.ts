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
import { type Copied, runCommand, takeCopied } from './run-step.ts'

/** What a build needs of the world. */
export interface BuildDeps {
  readonly store: ImageStore
  readonly openSandbox: OpenBuildSandbox
  /** Work since the last kept layer that makes the next one worth its export, ms. Default by the parent's size. */
  readonly keepAfterMs?: number
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
 * Runs the steps over the parent, each in the same sandbox as the one before. The root is kept under a key after the
 * last step that changes files and after expensive ones before it (an export costs as much as a cheap step), and a
 * build that begins with the same steps goes on from there. An error names its step.
 */
export const buildTemplate = async (
  deps: BuildDeps,
  plan: BuildPlan,
  onEvent: OnEvent,
  signal: AbortSignal,
): Promise<ImageRecord> => {
  await using stack = new AsyncDisposableStack()
  const say: Say = (event) => onEvent({ ...event, atMs: deps.store.now() })
  const named = <T>(index: number, work: () => Promise<T>): Promise<T> =>
    naming(plan.steps, index, say, signal, work)
  const { stages, config } = await prepare(deps.store, plan, stack, named, signal)
  const cached = plan.noCache ? undefined : await lastCached(deps.store, stages, signal)
  const run = stack.use(openRun(deps, plan, cached?.layer, say, signal))
  const fromIndex = cached?.index ?? -1
  for (const [index, step] of plan.steps.entries()) {
    signal.throwIfAborted()
    const stage = stages.find((candidate) => candidate.index === index)
    const isCached = stage !== undefined && index <= fromIndex
    say({ type: 'step', step: index, instruction: instructionOf(step), cached: isCached })
    if (stage !== undefined && !isCached) await named(index, () => run.change(stage, stage === stages.at(-1)))
  }
  const image = await run.finish(config)
  say({ type: 'done', imageDigest: image.digest })
  return image
}

type Say = (event: Omit<BuildEvent, 'atMs'>) => void

/** A step that changes files, with all that its outcome depends on. */
interface Stage {
  readonly index: number
  readonly step: FileStep
  readonly config: ImageConfig
  readonly copied: Copied | null
  readonly key: string
}

/** Keys of all steps, before any runs; the copied files are taken out of the context for it. */
const prepare = async (
  store: ImageStore,
  plan: BuildPlan,
  stack: AsyncDisposableStack,
  named: <T>(index: number, work: () => Promise<T>) => Promise<T>,
  signal: AbortSignal,
): Promise<{ stages: Stage[]; config: ImageConfig }> => {
  let { config } = plan.parent
  let key = firstKey(plan.parent.rootfs.description.layers)
  const stages: Stage[] = []
  for (const [index, step] of plan.steps.entries()) {
    if (!changesFiles(step)) {
      config = applyStep(config, step)
      continue
    }
    const before = config
    const copied =
      step.type === 'copy'
        ? stack.use(await named(index, () => takeCopied(store, step, before, plan.contextPath, signal)))
        : null
    key = nextKey(key, step, config, copied?.contentHash ?? null)
    stages.push({ index, step, config, copied, key })
  }
  return { stages, config }
}

const lastCached = async (
  store: ImageStore,
  stages: readonly Stage[],
  signal: AbortSignal,
): Promise<{ index: number; layer: CachedLayer } | undefined> => {
  for (const stage of stages.toReversed()) {
    const layer = await findLayer(store, stage.key, signal)
    if (layer !== undefined) return { index: stage.index, layer }
  }
  return undefined
}

/** Work on one step; what it throws names the step, in the log too. */
const naming = async <T>(
  steps: readonly Step[],
  index: number,
  say: Say,
  signal: AbortSignal,
  work: () => Promise<T>,
): Promise<T> => {
  const step = steps[index]
  if (step === undefined) throw new RangeError(`no step ${index}`)
  try {
    return await work()
  } catch (error) {
    signal.throwIfAborted()
    const instruction = instructionOf(step)
    const inner = error instanceof AtollError ? error : undefined
    const why = inner?.message ?? (error instanceof Error ? error.message : String(error))
    const failure = new AtollError(
      inner?.code ?? 'build_failed',
      `step ${index + 1} of ${steps.length} (${instruction}) ${why}`,
      { cause: error, details: { ...inner?.details, step: index, instruction } },
    )
    say({ type: 'error', step: index, instruction, error: { ...failure.toBody() } })
    throw failure
  }
}

/** Exporting a root up to this size costs no more than a step does: each step is kept. */
const smallRootBytes = 128 * 1024 ** 2
/** Exporting a large one takes tens of seconds (860 MB: 38 s): only work of that length is worth it. */
const largeRootKeepAfterMs = 20_000

const keepAfterMsOf = ({ rootfs }: ImageRecord): number =>
  rootfs.sizeBytes <= smallRootBytes ? 0 : largeRootKeepAfterMs

/** The sandbox of a build and the layer that it began with or left last. */
const openRun = (
  deps: BuildDeps,
  plan: BuildPlan,
  first: CachedLayer | undefined,
  say: Say,
  signal: AbortSignal,
) => {
  const { store, keepAfterMs = keepAfterMsOf(plan.parent) } = deps
  let layer = first
  let sandbox: BuildSandbox | undefined
  let temporary: string | undefined
  let keptAtMs = store.now()

  const onProgress: OnImageProgress = ({ stage, subject, doneBytes, totalBytes }) => {
    const total = totalBytes === undefined ? {} : { totalBytes }
    say({ type: 'progress', text: `${stage} ${subject}`, doneBytes, ...total })
  }
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
  const keep = async (key: string, from: BuildSandbox): Promise<void> => {
    const before = layer
    layer = await keepLayer(store, key, await from.exportRoot(signal), signal)
    keptAtMs = store.now()
    await before?.blob[Symbol.asyncDispose]()
  }
  return {
    change: async ({ index, step, config, copied, key }: Stage, isLast: boolean): Promise<void> => {
      sandbox ??= await deps.openSandbox(await between(config), signal)
      const onText = (text: string) => say({ type: 'output', step: index, text })
      if (step.type === 'run') await runCommand(sandbox, step, config, onText, signal)
      else await copied?.into(sandbox, signal)
      if (isLast || store.now() - keptAtMs >= keepAfterMs) await keep(key, sandbox)
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
