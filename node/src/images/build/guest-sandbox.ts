import { Readable } from 'node:stream'
import {
  AtollError,
  type Exit,
  type GuestResponse,
  exitSchema,
  frameKinds,
  outputFrameDecoder,
} from '@atoll/protocol'
import { z } from 'zod'
import { jsonBody } from '../../guest/calls.ts'
import type { GuestConnection } from '../../guest/connection.ts'
import { readJson } from '../../guest/read-json.ts'
import type { BuildCommand, BuildSandbox } from '../build-sandbox.ts'

/** The ring of a build's command: large, since an export runs through it. */
const ringBytes = 8 * 1024 * 1024
const exportMs = 30 * 60_000
const errorTailLength = 1_000
/**
 * The image's own tar, as root: the agent's archives know no hard links and do not stop at `/proc`. These words mean the
 * same to GNU's and to busybox's. Accepted risk: file capabilities set by a step are lost.
 */
const exportCommand =
  'tar -C / --exclude ./.atoll --exclude ./proc --exclude ./sys --exclude ./dev -cf - .'.split(' ')

/** A build sandbox over the channel to a guest agent that has its identity; `close` ends the machine. */
export const guestBuildSandbox = (guest: GuestConnection, close: () => Promise<void>): BuildSandbox => {
  let count = 0
  const start = (command: BuildCommand, signal: AbortSignal): Promise<GuestResponse> => {
    count += 1
    const { argv, env, cwd, user, timeoutMs } = command
    const body = {
      argv,
      env,
      cwd,
      user,
      timeoutMs,
      stdin: 'none',
      outputLimitBytes: ringBytes,
      survivors: 'kill',
    }
    return guest.request({
      method: 'PUT',
      path: `/v1/processes/build-${count}?follow=1`,
      signal,
      ...jsonBody(body),
    })
  }
  return {
    run: async (command, onOutput, signal) => {
      const act = `cannot run ${command.argv[0] ?? ''} in the build sandbox`
      const exit = await drain(follow(await start(command, signal), act), (part) => onOutput(part.bytes))
      return { code: exit.code, signal: exit.signal, timedOut: exit.timedOut }
    },
    upload: async (path, tar, user, signal) => {
      await upload(guest, path, tar, signal)
      if (user === 'root') return
      const argv = ['chown', '-R', '--', user, path]
      const act = `cannot give ${path} in the build sandbox to ${user}`
      const command = { argv, env: {}, cwd: '/', user: 'root', timeoutMs: exportMs }
      const exit = await drain(follow(await start(command, signal), act), () => {})
      if (exit.code !== 0) throw new AtollError('build_failed', `${act}: chown failed; is there such a user?`)
    },
    exportRoot: async (signal) => {
      const command = { argv: exportCommand, env: {}, cwd: '/', user: 'root', timeoutMs: exportMs }
      const act = "cannot export the build sandbox's root"
      return Readable.from(archive(await start(command, signal), act), { objectMode: false })
    },
    [Symbol.asyncDispose]: close,
  }
}

const upload = async (
  guest: GuestConnection,
  path: string,
  tar: Readable,
  signal: AbortSignal,
): Promise<void> => {
  const act = `cannot copy files to ${path} in the build sandbox`
  const make = { path, parents: true, user: 'root' }
  await readJson(
    await guest.request({ method: 'POST', path: '/v1/files/make', signal, ...jsonBody(make) }),
    z.unknown(),
    act,
  )
  const query = new URLSearchParams({ path, user: 'root' })
  const headers = { 'content-type': 'application/x-tar' }
  const unpacked = await guest.request({
    method: 'PUT',
    path: `/v1/tar?${query}`,
    headers,
    body: tar,
    signal,
  })
  await readJson(unpacked, z.object({ entries: z.int(), bytes: z.number() }), act)
}

interface Part {
  readonly stream: 'stdout' | 'stderr'
  readonly bytes: Uint8Array
}

/** The output of a process, and as its return value the exit; a stream that ends without one is an error. */
async function* follow(response: GuestResponse, act: string): AsyncGenerator<Part, Exit> {
  if (response.status >= 400) await readJson(response, z.never(), act)
  const decoder = outputFrameDecoder()
  for await (const chunk of response.body) {
    for (const { kind, payload } of decoder.push(chunk)) {
      if (kind === frameKinds.stdout) yield { stream: 'stdout', bytes: payload }
      else if (kind === frameKinds.stderr) yield { stream: 'stderr', bytes: payload }
      else if (kind === frameKinds.event) {
        const exit = exitOf(payload, act)
        if (exit !== undefined) return exit
      }
    }
  }
  throw new AtollError('stream_broken', `${act}: its output ended without an exit`)
}

const eventSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('started') }),
  z.object({ type: z.literal('gap') }),
  z.object({ type: z.literal('evicted') }),
  z.object({ type: z.literal('exit'), exit: exitSchema }),
])

const exitOf = (payload: Uint8Array, act: string): Exit | undefined => {
  const event = eventSchema.safeParse(JSON.parse(new TextDecoder().decode(payload)))
  if (!event.success)
    throw new AtollError('guest_unreachable', `${act}: the guest agent's event is not readable`)
  if (event.data.type === 'exit') return event.data.exit
  if (event.data.type === 'started') return undefined
  throw new AtollError('stream_broken', `${act}: a part of its output was lost`)
}

const drain = async (parts: AsyncGenerator<Part, Exit>, onPart: (part: Part) => void): Promise<Exit> => {
  while (true) {
    const next = await parts.next()
    if (next.done === true) return next.value
    onPart(next.value)
  }
}

/** Standard output as bytes; another end than exit code 0 breaks the stream, so that nobody keeps half an archive. */
async function* archive(response: GuestResponse, act: string): AsyncGenerator<Uint8Array> {
  const parts = follow(response, act)
  let errors = ''
  while (true) {
    const next = await parts.next()
    if (next.done !== true) {
      if (next.value.stream === 'stdout') yield next.value.bytes
      else errors = (errors + new TextDecoder().decode(next.value.bytes)).slice(-errorTailLength)
      continue
    }
    if (next.value.code === 0) return
    throw new AtollError(
      'build_failed',
      `${act}: tar ended with ${next.value.code ?? next.value.signal}: ${errors}`,
    )
  }
}
