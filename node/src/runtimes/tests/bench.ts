import { randomBytes, randomInt } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Exit, type GuestRequest, makeId, outputFrameDecoder } from '@atoll/protocol'
import { type Adopted, askAdopt, askHealth, jsonBody } from '../../guest/calls.ts'
import { type GuestConnection, guestConnection } from '../../guest/connection.ts'
import { AtollError } from '@atoll/protocol'
import type { Capabilities, Machine, MachineLimits, MachineSpec, RuntimeDriver } from '../driver.ts'

const mib = 1024 ** 2
export const benchLimits: MachineLimits = {
  cpuMillis: 1_000,
  memoryBytes: 256 * mib,
  processes: 64,
  diskBytes: 128 * mib,
  openFiles: 1_024,
}

/** What a command did: its streams, its exit, and the events of its stream. */
export interface Ran {
  readonly stdout: string
  readonly stderr: string
  readonly exit: Exit
  readonly events: readonly { readonly type: string; readonly [key: string]: unknown }[]
  readonly firstOffset: number | undefined
}

/** The fields of JSON answers that cases look at; a case that needs one fails when it is not there. */
export interface JsonBody {
  readonly code: string
  readonly state: string
  readonly pid: number
  readonly sandboxId: string
  readonly log: { readonly start: number; readonly end: number }
  readonly exit: Exit | null
  readonly entries: readonly { readonly name: string; readonly path: string }[]
  readonly processes: readonly { readonly id: string }[]
}

export interface Booted extends AsyncDisposable {
  readonly spec: MachineSpec
  readonly machine: Machine
  readonly guest: GuestConnection
  readonly adopted: Adopted | undefined
  /** Runs to its end. A string is a line for the shell. */
  run(command: string | readonly string[], more?: Record<string, unknown>): Promise<Ran>
  /** Starts and does not wait. */
  start(id: string, command: string | readonly string[], more?: Record<string, unknown>): Promise<void>
  json(
    method: GuestRequest['method'],
    path: string,
    body?: unknown,
  ): Promise<{ status: number; body: JsonBody }>
  /** Reads an output stream to its end. */
  read(path: string): Promise<Ran>
}

export type Bench = ReturnType<typeof makeBench>

/** Boots machines of one driver for cases, in folders of their own. */
export const makeBench = (makeDriver: () => RuntimeDriver, imagePath: string) => {
  const driver = makeDriver()
  let capabilities: Promise<Capabilities> | undefined
  const folders: string[] = []
  const folder = async (): Promise<string> => {
    // Short: unix sockets live in it, and their paths have at most 107 bytes.
    const directory = await mkdtemp(join('/tmp', 'atc-'))
    folders.push(directory)
    return directory
  }
  const makeSpec = async (
    options: { limits?: Partial<MachineLimits>; deadlineUnixMs?: number } = {},
  ): Promise<MachineSpec> => ({
    id: makeId('sbx', randomBytes(20)),
    directory: await folder(),
    imagePath,
    hostname: 'conforming',
    limits: { ...benchLimits, ...options.limits },
    uidBase: 200_000 + 65_536 * randomInt(30_000, 59_000),
    deadlineUnixMs: options.deadlineUnixMs ?? Date.now() + 600_000,
  })
  const boot = async (
    options: { limits?: Partial<MachineLimits>; adopt?: boolean; deadlineUnixMs?: number } = {},
  ): Promise<Booted> => {
    const spec = await makeSpec(options)
    const machine = await driver.start(spec, AbortSignal.timeout(30_000))
    return await booted(machine, spec, options.adopt !== false)
  }
  return {
    driver,
    makeDriver,
    capabilities: (): Promise<Capabilities> => (capabilities ??= driver.probe(AbortSignal.timeout(30_000))),
    boot,
    booted,
    folder,
    makeSpec,
    [Symbol.asyncDispose]: async () => {
      for (const folder of folders) await rm(folder, { recursive: true, force: true })
    },
  }
}

/** A machine with its channel; disposing destroys it. `adopt` is the generation of the identity that it gets. */
export const booted = async (
  machine: Machine,
  spec: MachineSpec,
  adopt: boolean | number,
): Promise<Booted> => {
  const guest = guestConnection((signal) => machine.connectGuest(signal), Math.random)
  const dispose = async (): Promise<void> => {
    guest.close(new AtollError('guest_unreachable', 'the case is over'))
    await machine.destroy(AbortSignal.timeout(30_000))
  }
  try {
    await askHealth(guest, 20_000)
    const adopted = adopt === false ? undefined : await adoptIt(guest, spec, Number(adopt))
    return { spec, machine, guest, adopted, ...commands(guest), [Symbol.asyncDispose]: dispose }
  } catch (error) {
    await dispose()
    throw error
  }
}

const adoptIt = (guest: GuestConnection, spec: MachineSpec, generation: number): Promise<Adopted> =>
  askAdopt(
    guest,
    {
      sandboxId: spec.id,
      generation,
      reason: generation === 1 ? 'create' : 'fork',
      hostname: spec.hostname,
      timeUnixMs: Date.now(),
      entropy: randomBytes(64).toString('base64'),
      env: { GREETING: 'hello' },
      limits: {
        ...spec.limits,
        cpuCount: Math.max(1, Math.ceil(spec.limits.cpuMillis / 1_000)),
      },
      defaultUser: 'user',
      workdir: '/home/user',
    },
    20_000,
  )

const commands = (guest: GuestConnection) => {
  const body = (command: string | readonly string[], more: Record<string, unknown>) =>
    jsonBody({ argv: typeof command === 'string' ? ['/bin/sh', '-c', command] : command, ...more })
  const read = async (request: GuestRequest): Promise<Ran> => {
    const response = await guest.request(request)
    const chunks: Uint8Array[] = []
    const decoder = outputFrameDecoder()
    const streams = { 1: '', 2: '' }
    const events: { type: string; [key: string]: unknown }[] = []
    let firstOffset: number | undefined
    for await (const chunk of response.body) {
      if (response.status >= 300) {
        chunks.push(chunk)
        continue
      }
      for (const frame of decoder.push(chunk)) {
        if (frame.kind === 1 || frame.kind === 2) {
          firstOffset ??= frame.offset
          streams[frame.kind] += Buffer.from(frame.payload).toString('latin1')
        } else if (frame.kind === 3) events.push(JSON.parse(Buffer.from(frame.payload).toString()))
      }
    }
    if (response.status >= 300)
      throw new Error(`status ${response.status}: ${Buffer.concat(chunks).toString()}`)
    const last = events.at(-1)
    return { stdout: streams[1], stderr: streams[2], exit: last?.['exit'] as Exit, events, firstOffset }
  }
  const json: Booted['json'] = async (method, path, value) => {
    const response = await guest.request({ method, path, ...(value === undefined ? {} : jsonBody(value)) })
    const chunks: Uint8Array[] = []
    for await (const chunk of response.body) chunks.push(chunk)
    return { status: response.status, body: JSON.parse(Buffer.concat(chunks).toString() || 'null') }
  }
  return {
    json,
    run: async (command: string | readonly string[], more: Record<string, unknown> = {}): Promise<Ran> => {
      const id = `run-${randomBytes(8).toString('hex')}`
      const ran = await read({ method: 'PUT', path: `/v1/processes/${id}?follow=1`, ...body(command, more) })
      if (ran.exit === undefined) throw new Error('the stream ended without exit')
      return ran
    },
    start: async (id: string, command: string | readonly string[], more: Record<string, unknown> = {}) => {
      const answer = await guest.request({
        method: 'PUT',
        path: `/v1/processes/${id}`,
        ...body(command, more),
      })
      const chunks: Uint8Array[] = []
      for await (const chunk of answer.body) chunks.push(chunk)
      if (answer.status !== 201)
        throw new Error(`status ${answer.status}: ${Buffer.concat(chunks).toString()}`)
    },
    read: (path: string) => read({ method: 'GET', path }),
  }
}

/** Waits for something to become true; fails loudly at its deadline. */
export const eventually = async (
  what: string,
  test: () => Promise<boolean>,
  timeoutMs = 15_000,
): Promise<void> => {
  const deadline = Date.now() + timeoutMs
  while (!(await test())) {
    if (Date.now() > deadline) throw new Error(`${what}: not within ${timeoutMs} ms`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
