import { open } from 'node:fs/promises'
import { AtollError, isErrorCode } from '@atoll/protocol'
import { z } from 'zod'
import type { ImageStore } from './image-store.ts'
import { type UnpackReport, unpackReportSchema } from './image-record.ts'
import { imageLimits } from './limits.ts'
import { lastLines, runTool } from '../host/run-tool.ts'

/** What an archive is taken for: a whole root, a layer with whiteouts, or files and directories alone. */
export type ArchiveFlavour = 'root' | 'layer' | 'plain'

/** Unpacks an archive (tar, gzip, zstd) into the directory, in the jail (invariant 8). */
export const unpackArchive = async (
  store: ImageStore,
  archivePath: string,
  target: string,
  flavour: ArchiveFlavour,
  signal: AbortSignal,
): Promise<UnpackReport> => {
  const numbers = {
    '--archive-bytes': imageLimits.archiveBytes,
    '--content-bytes': imageLimits.contentBytes,
    '--file-bytes': imageLimits.fileBytes,
    '--entries': imageLimits.entries,
    '--cpu-seconds': imageLimits.unpackCpuSeconds,
  }
  const flags = Object.entries(numbers).flatMap(([name, value]) => [name, String(value)])
  if (flavour !== 'root') flags.push(`--${flavour}`)
  return runJailed(
    store,
    'unpack',
    `unpack ${archivePath}`,
    target,
    flags,
    archivePath,
    unpackReportSchema,
    signal,
  )
}

/** Puts the agent, its directories and the mount points into the tree. */
export const sealTree = async (store: ImageStore, target: string, signal: AbortSignal): Promise<void> => {
  const schema = z.object({ agentBytes: z.int().min(1) })
  await runJailed(store, 'seal', 'put the agent into the image', target, [], store.agentPath, schema, signal)
}

const selectionSchema = z.object({
  entries: z.int().min(0),
  contentHash: z.string().regex(/^sha256:[a-f0-9]{64}$/),
  isFile: z.boolean(),
})

/** What one path of a context is: how many entries, whether one file, and a hash that no time or owner changes. */
export type Selection = z.infer<typeof selectionSchema>

/** Writes what lies at `from` in an archive as a tar of its own, with names relative to it; a file's is `name`. */
export const selectFromArchive = async (
  store: ImageStore,
  archivePath: string,
  choice: { readonly from: string; readonly name: string },
  output: { readonly path: string; readonly emptyDirectory: string },
  signal: AbortSignal,
): Promise<Selection> => {
  await using tar = await open(output.path, 'wx', 0o600)
  const flags = ['--from', choice.from, '--name', choice.name]
  const act = `take ${choice.from} from the build context`
  const { emptyDirectory } = output
  return await runJailed(
    store,
    'select',
    act,
    emptyDirectory,
    flags,
    archivePath,
    selectionSchema,
    signal,
    tar.fd,
  )
}

/** Makes `output/image.erofs` of the tree. */
export const packTree = async (
  store: ImageStore,
  target: string,
  output: string,
  options: readonly string[],
  signal: AbortSignal,
): Promise<void> => {
  const act = 'make the EROFS image'
  const answer = await runTool({
    act,
    command: [
      ...command(store, 'pack', target),
      '--output',
      output,
      '--program',
      store.mkfsPath,
      '--cpu-seconds',
      String(imageLimits.unpackCpuSeconds),
      '--',
      ...options,
    ],
    signal: AbortSignal.any([signal, AbortSignal.timeout(imageLimits.packMs)]),
    accept: [1],
  })
  if (answer.code !== 0) throw failureOf(answer.stdout, act, answer.stderr)
}

const command = (store: ImageStore, verb: string, target: string): [string, ...string[]] => [
  store.unpackerPath,
  verb,
  '--target',
  target,
  '--id-base',
  String(store.idBase),
]

const runJailed = async <Schema extends z.ZodType>(
  store: ImageStore,
  verb: string,
  act: string,
  target: string,
  flags: readonly string[],
  inputPath: string,
  schema: Schema,
  signal: AbortSignal,
  extra?: number,
): Promise<z.infer<Schema>> => {
  await using input = await open(inputPath, 'r')
  const answer = await runTool({
    act,
    command: [...command(store, verb, target), ...flags],
    stdin: input.fd,
    ...(extra === undefined ? {} : { extra }),
    signal: AbortSignal.any([signal, AbortSignal.timeout(imageLimits.unpackMs)]),
    accept: [1],
  })
  if (answer.code !== 0) throw failureOf(answer.stdout, act, answer.stderr)
  const parsed = schema.safeParse(parseJson(answer.stdout))
  if (!parsed.success) {
    throw new AtollError(
      'internal',
      `cannot ${act}: the unpacker's answer is not readable; rebuild atoll-unpack`,
    )
  }
  return parsed.data
}

const errorSchema = z.object({
  error: z.object({ code: z.string(), message: z.string(), entry: z.string().optional() }),
})

/** The helper's own word for what went wrong, as an error of ours. */
const failureOf = (stdout: string, act: string, stderr: string): AtollError => {
  const parsed = errorSchema.safeParse(parseJson(stdout))
  if (!parsed.success) return new AtollError('internal', `cannot ${act}: ${lastLines(stderr)}`)
  const { code, message, entry } = parsed.data.error
  const where = entry === undefined ? '' : ` at ${JSON.stringify(entry)}`
  const extras = entry === undefined ? {} : { details: { entry } }
  return new AtollError(isErrorCode(code) ? code : 'internal', `cannot ${act}: ${message}${where}`, extras)
}

const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
