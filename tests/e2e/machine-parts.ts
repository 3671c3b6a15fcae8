import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import type { Stack } from '../stack/start-stack.ts'
import { until } from './call.ts'
import { nodeRecord } from './state/machine-of.ts'
import { type HostProcess, hostProcess, hostProcesses, killExactly } from './host-processes.ts'

/** Longest answer that is taken from a shim, bytes: as long as the protocol's own lines. */
const lineBytes = 64 * 1024
const answerTimeoutMs = 5_000

/** The host's processes of one sandbox, by docs/reference/launcher-protocol.md. */
export interface MachineParts {
  readonly shim: HostProcess
  readonly spare: HostProcess
  readonly runtime: HostProcess
}

/** Finds them, by the id of a sandbox or of its machine: the shim says itself who its spare and its runtime are. */
export const machineParts = async (
  stack: Pick<Stack, 'dataFolder'>,
  id: string,
  timeoutMs = 10_000,
): Promise<MachineParts> => {
  return await until(`${id} has a shim, a spare and a runtime`, timeoutMs, async () => {
    const folder = machineFolder(stack, id)
    const status = await askShim(folder, { do: 'status' }).catch(() => undefined)
    if (status === undefined) return undefined
    const record = JSON.parse(readFileSync(join(folder, 'shim.json'), 'utf8')) as Record<string, unknown>
    const shim = living(status['shimPid'] ?? record['shimPid'])
    const spare = living(status['sparePid'])
    const runtime = living(status['runtimePid'])
    return shim === undefined || spare === undefined || runtime === undefined
      ? undefined
      : { shim, spare, runtime }
  })
}

/** Where the machine of a sandbox has its sockets and records; its own id names it as well. */
export const machineFolder = (stack: Pick<Stack, 'dataFolder'>, id: string): string =>
  join(stack.dataFolder, 'sandboxes', nodeRecord(stack, id)?.machineId ?? id)

/** Launchers and shims of a stack, told by its folder in the command line. */
export const launchersOf = (stack: Pick<Stack, 'dataFolder'>): HostProcess[] =>
  hostProcesses().filter(
    ({ commandLine }) => commandLine.includes('atoll-launcher') && commandLine.includes(stack.dataFolder),
  )

/** Kills all that are named at one go; fails when one of them was gone before. */
export const killAll = (targets: readonly HostProcess[]): void => {
  const missed = targets.filter((target) => !killExactly(target))
  if (missed.length > 0)
    throw new Error(
      `could not kill ${missed.map(({ pid, name }) => `${name} (${pid})`).join(', ')}: gone before`,
    )
}

/** One question on shim.sock, one line back. */
export const askShim = async (folder: string, question: object): Promise<Record<string, unknown>> =>
  await new Promise((resolve, reject) => {
    const socket = connect(join(folder, 'shim.sock'))
    let text = ''
    socket.setTimeout(answerTimeoutMs, () => socket.destroy(new Error('the shim does not answer')))
    socket.setEncoding('utf8')
    socket.on('connect', () => socket.write(`${JSON.stringify(question)}\n`))
    socket.on('data', (part: string) => {
      text += part
      if (text.length > lineBytes) socket.destroy(new Error('the shim answers more than a line may have'))
      if (text.includes('\n')) {
        resolve(JSON.parse(text) as Record<string, unknown>)
        socket.end()
      }
    })
    socket.on('error', reject)
    socket.on('close', () => reject(new Error('the shim closed without an answer')))
  })

const living = (pid: unknown): HostProcess | undefined =>
  typeof pid === 'number' ? hostProcess(pid) : undefined
