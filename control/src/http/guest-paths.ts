import {
  entrySchema,
  errorBodySchema,
  limits,
  makeSchema,
  metricsSchema,
  moveSchema,
  outputEventSchema,
  processIdSchema,
  processSchema,
  removeSchema,
  runResultSchema,
  signalSchema,
  startProcessSchema,
  terminalSizeSchema,
  watchEventSchema,
  writtenSchema,
} from '@atoll/protocol'
import { z } from '@hono/zod-openapi'
import type { ZodType } from 'zod'
import type { App } from './environment.ts'
import { idParams, security } from './shapes.ts'

type Content = Record<string, ZodType>

interface GuestPath {
  readonly method: 'get' | 'put' | 'post' | 'delete'
  readonly path: string
  readonly summary: string
  readonly query?: Record<string, ZodType>
  readonly body?: Content
  readonly answer: Content
}

const json = (schema: ZodType): Content => ({ 'application/json': schema })
const bytes: Content = { 'application/octet-stream': z.string() }
const text = z.string().optional()
const flag = z.enum(['0', '1']).optional()
const file = { path: z.string().min(1).max(limits.pathBytes), user: text }
const events: Content = { 'application/x-ndjson': outputEventSchema }

const processPaths: readonly GuestPath[] = [
  {
    method: 'post',
    path: 'processes',
    summary:
      'Start a process: its record at once; with accept application/x-ndjson its events as they come; with wait=1 its end',
    query: { wait: flag, attached: flag },
    body: json(startProcessSchema),
    answer: { ...json(z.union([processSchema, runResultSchema])), ...events },
  },
  {
    method: 'get',
    path: 'processes',
    summary: 'List',
    answer: json(z.object({ processes: z.array(processSchema) })),
  },
  { method: 'get', path: 'processes/{process}', summary: 'One process', answer: json(processSchema) },
  {
    method: 'delete',
    path: 'processes/{process}',
    summary: 'End the whole tree',
    answer: json(processSchema),
  },
  {
    method: 'get',
    path: 'processes/{process}/wait',
    summary: 'Once it has ended',
    answer: json(processSchema),
  },
  {
    method: 'get',
    path: 'processes/{process}/output',
    summary: 'Output from an offset',
    query: { offset: text, follow: flag },
    answer: { ...events, ...bytes },
  },
  {
    method: 'post',
    path: 'processes/{process}/stdin',
    summary: 'Stream bytes to the standard input',
    query: { close: flag },
    body: bytes,
    answer: json(z.object({ bytesWritten: z.number() })),
  },
  {
    method: 'post',
    path: 'processes/{process}/signal',
    summary: 'Send a signal',
    body: json(signalSchema),
    answer: json(z.object({ delivered: z.number() })),
  },
  {
    method: 'post',
    path: 'processes/{process}/resize',
    summary: 'Resize its terminal',
    body: json(terminalSizeSchema),
    answer: json(z.object({})),
  },
]

const filePaths: readonly GuestPath[] = [
  { method: 'get', path: 'files', summary: 'Read a file; takes Range', query: file, answer: bytes },
  {
    method: 'put',
    path: 'files',
    summary: 'Write a file atomically; x-atoll-sha256 is checked',
    query: { ...file, mode: text, parents: flag },
    body: bytes,
    answer: json(writtenSchema),
  },
  { method: 'get', path: 'files/stat', summary: 'One entry', query: file, answer: json(entrySchema) },
  {
    method: 'get',
    path: 'files/list',
    summary: 'Entries of a folder',
    query: { ...file, depth: text, limit: text },
    answer: json(z.object({ entries: z.array(entrySchema), truncated: z.boolean() })),
  },
  { method: 'post', path: 'files/move', summary: 'Move', body: json(moveSchema), answer: json(entrySchema) },
  {
    method: 'post',
    path: 'files/remove',
    summary: 'Remove',
    body: json(removeSchema),
    answer: json(z.object({ removed: z.number() })),
  },
  {
    method: 'post',
    path: 'files/make',
    summary: 'Make a folder',
    body: json(makeSchema),
    answer: json(entrySchema),
  },
  {
    method: 'get',
    path: 'files/watch',
    summary: 'Changes as they happen',
    query: { ...file, recursive: flag },
    answer: { 'application/x-ndjson': watchEventSchema },
  },
  {
    method: 'get',
    path: 'tar',
    summary: 'A folder as tar',
    query: file,
    answer: { 'application/x-tar': z.string() },
  },
  {
    method: 'put',
    path: 'tar',
    summary: 'Unpack below a path, as the user',
    query: file,
    body: { 'application/x-tar': z.string() },
    answer: json(z.object({ entries: z.number(), bytes: z.number() })),
  },
  { method: 'get', path: 'metrics', summary: 'What it uses now', answer: json(metricsSchema) },
]

/** Describes what the gateway serves, so that one document holds the whole API. */
export const describeGuestPaths = (app: App): void => {
  for (const path of [...processPaths, ...filePaths]) {
    const params = path.path.includes('{process}') ? idParams.extend({ process: processIdSchema }) : idParams
    app.openAPIRegistry.registerPath({
      method: path.method,
      path: `/v1/sandboxes/{id}/${path.path}`,
      summary: path.summary,
      security,
      // Which tier answers, for tools that test one at a time.
      'x-atoll-tier': 'gateway',
      request: {
        params,
        ...(path.query === undefined ? {} : { query: z.object(path.query) }),
        ...(path.body === undefined ? {} : { body: { content: contentOf(path.body) } }),
      },
      responses: {
        200: { description: 'Done', content: contentOf(path.answer) },
        default: { description: 'Refused or failed', content: contentOf(json(errorBodySchema)) },
      },
    })
  }
}

const contentOf = (content: Content) =>
  Object.fromEntries(Object.entries(content).map(([type, schema]) => [type, { schema }]))
