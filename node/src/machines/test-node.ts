import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '@atoll/kit'
import { makeId, type NodeApi, type NodeSandboxSpec, outputFrameDecoder } from '@atoll/protocol'
import { randomBytes } from 'node:crypto'
import { createNode, type Node, type NodeDependencies } from '../create-node.ts'
import type { RuntimeDriver } from '../runtimes/driver.ts'
import { simulatedDriver } from '../runtimes/simulated/driver.ts'
import { simulatedBaseDigest, simulatedImages } from '../runtimes/simulated/images.ts'
import { type SimulatedWorld, simulatedWorld } from '../runtimes/simulated/world.ts'

const silent = { info: () => undefined, warn: () => undefined, error: () => undefined }

/** A node on a real node.db in a folder of its own, that can be closed and opened anew like a daemon. */
export interface TestNode extends AsyncDisposable {
  node: Node
  readonly folder: string
  readonly world: SimulatedWorld
  /** Closes the daemon and starts the next one on the same folder and world. */
  restart(change?: Partial<NodeDependencies>): Promise<Node>
  /** Leaves the daemon where it stands, as if it were killed, and starts the next one. */
  replace(change?: Partial<NodeDependencies>): Promise<Node>
}

export const testNode = async (
  change: Partial<NodeDependencies> & { wrap?: (driver: RuntimeDriver) => RuntimeDriver } = {},
): Promise<TestNode> => {
  const folder = await mkdtemp(join(tmpdir(), 'atoll-node-'))
  const world = simulatedWorld()
  const { wrap = (driver: RuntimeDriver) => driver, options, ...rest } = change
  const open = (more: Partial<NodeDependencies>): Promise<Node> =>
    createNode({
      dataFolder: folder,
      drivers: [wrap(simulatedDriver({ world }))],
      images: simulatedImages(systemClock),
      logger: silent,
      ...rest,
      ...more,
      // No machine but those that a test asks for: tests of the pool turn it on.
      options: { poolMax: 0, templateSnapshots: false, ...options, ...more.options },
    })
  const test: TestNode = {
    node: await open({}),
    folder,
    world,
    restart: async (more = {}) => {
      await test.node[Symbol.asyncDispose]()
      test.node = await open(more)
      return test.node
    },
    replace: async (more = {}) => {
      // What hangs in it hangs forever; its ticker and its signals end in this turn.
      void test.node[Symbol.asyncDispose]()
      test.node = await open(more)
      return test.node
    },
    [Symbol.asyncDispose]: async () => {
      await test.node[Symbol.asyncDispose]()
      await rm(folder, { recursive: true, force: true })
    },
  }
  return test
}

/** A spec on the simulated runtime that is asked for by name. */
export const testSpec = (change: Partial<NodeSandboxSpec> = {}): NodeSandboxSpec => ({
  id: makeId('sbx', randomBytes(20)),
  runtime: 'simulated',
  imageDigest: simulatedBaseDigest,
  snapshot: null,
  hostname: 'box',
  env: { GREETING: 'hello' },
  user: 'user',
  workdir: '/home/user',
  start: null,
  ready: null,
  limits: { cpuMillis: 1_000, memoryMib: 128, diskMib: 64, processes: 32, openFiles: 1_024 },
  lease: {
    expiresAtMs: Date.now() + 600_000,
    timeoutMs: 600_000,
    onTimeout: 'delete',
    idle: null,
    autoResume: true,
    onHostLost: 'delete',
  },
  ...change,
})

/** Runs a command through the node and collects its streams; rejects when no exit came. */
export const runIn = async (
  node: NodeApi,
  id: string,
  argv: readonly string[],
  name = makeId('bld', randomBytes(20)),
) => {
  const response = await node.guest(id, {
    method: 'PUT',
    path: `/v1/processes/${name}?follow=1`,
    headers: { 'content-type': 'application/json' },
    body: Buffer.from(JSON.stringify({ argv })),
    holder: { kind: 'process', name },
  })
  const text = { stdout: '', stderr: '', answer: '' }
  const decoder = outputFrameDecoder()
  for await (const chunk of response.body) {
    if (response.status >= 300) {
      text.answer += Buffer.from(chunk).toString()
      continue
    }
    for (const frame of decoder.push(chunk)) {
      if (frame.kind === 1) text.stdout += Buffer.from(frame.payload).toString()
      if (frame.kind === 2) text.stderr += Buffer.from(frame.payload).toString()
      if (frame.kind !== 3) continue
      const event = JSON.parse(Buffer.from(frame.payload).toString())
      if (event.type === 'exit') return { ...text, status: response.status, exit: event.exit }
    }
  }
  if (response.status >= 300) return { ...text, status: response.status, exit: null }
  throw new Error('the stream ended without exit')
}
