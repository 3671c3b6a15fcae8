import { join } from 'node:path'
import { collectYoung, defaultOptions } from '@atoll/node'
import type { Logger } from 'pino'
import { announcement } from './announce.ts'
import { compose, type Running } from './compose.ts'
import { prepareDataFolder } from './data-folder.ts'
import { localConfigPath, readLocalConfig, writeLocalConfig } from './local-config.ts'
import { lockFolder } from './lock-folder.ts'
import { openLog } from './log.ts'
import type { Options } from './options.ts'
import { type Parts, simulatedParts } from './simulated-parts.ts'

/** Starts everything and answers until a signal comes. The sandboxes outlive it (invariant 3). */
export const up = async (options: Options, env: NodeJS.ProcessEnv): Promise<void> => {
  collectYoung()
  await using stack = new AsyncDisposableStack()
  const dataFolder = await prepareDataFolder(options.dataFolder)
  const lock = stack.use(lockFolder(dataFolder))
  const logger = openLog(dataFolder, options.logLevel)
  endOnFault(logger)
  const stop = untilSignal()
  const say = (text: string): void => void (options.json ? undefined : process.stderr.write(`${text}\n`))
  const parts = options.simulated ? simulatedParts() : await partsOfHost(dataFolder, say, stop.signal)
  const running = stack.use(
    await compose({ ...options, dataFolder, logger, ...withPool(parts, options.pool) }),
  )
  lock.announce(running.url)
  await tell(running, dataFolder, options, env)
  logger.info({ url: running.url, dataFolder }, 'answering')
  const signal = await stop.came
  const left = (await running.node.list()).filter(({ state }) => state !== 'ended').length
  logger.info({ signal, sandboxes: left }, 'stopping')
  await stack.disposeAsync()
  say(
    left === 0
      ? 'Stopped.'
      : `Stopped; ${left} sandboxes run on, and the next \`atoll up\` on ${dataFolder} takes them up again.`,
  )
}

/** The operator's number is the least that waits, and none at all where it is 0. */
const withPool = (parts: Parts, pool: number | undefined): Parts => {
  // Whoever stops it finds nothing of it but the sandboxes; a daemon that was killed leaves the pool to the next.
  const options = { ...parts.options, freePoolAtClose: true }
  if (pool === undefined) return { ...parts, options }
  const poolMax = pool === 0 ? 0 : Math.max(pool, defaultOptions.poolMax)
  return { ...parts, options: { ...options, poolMin: pool, poolMax } }
}

/** Loaded when it is wanted: a simulated stack needs nothing of this host. */
const partsOfHost = async (
  dataFolder: string,
  say: (text: string) => void,
  signal: AbortSignal,
): Promise<Parts> => {
  const { hostParts } = await import('./host-parts.ts')
  return hostParts(dataFolder, say, signal)
}

const tell = async (
  running: Running,
  dataFolder: string,
  { address, json }: Options,
  env: NodeJS.ProcessEnv,
): Promise<void> => {
  const { url, firstKey, node } = running
  const path = localConfigPath(env)
  // Beside the data as well: on a machine with several data folders the CLI follows the one that runs.
  const kept = join(dataFolder, 'cli.json')
  if (firstKey !== undefined) writeLocalConfig(kept, { url, apiKey: firstKey.secret })
  const known = readLocalConfig(kept)
  if (known !== undefined) writeLocalConfig(path, { ...known, url })
  const info = await node.info()
  const told = { url, host: address.host, dataFolder, firstKey, saved: { path, config: known }, info }
  const machine = { url, dataFolder, apiKey: firstKey?.secret ?? null, runtimes: info.runtimes }
  process.stdout.write(`${json ? JSON.stringify(machine) : announcement(told)}\n`)
}

/** The first SIGINT or SIGTERM ends it in order, the second at once. */
const untilSignal = (): { signal: AbortSignal; came: Promise<string> } => {
  const controller = new AbortController()
  const came = new Promise<string>((resolve) => {
    for (const name of ['SIGINT', 'SIGTERM'] as const)
      process.on(name, () => {
        if (controller.signal.aborted) process.exit(130)
        controller.abort(new Error(`stopped by ${name}`))
        resolve(name)
      })
  })
  return { signal: controller.signal, came }
}

/** A fault that nobody caught leaves a state that nobody knows: log it and end; the sandboxes go on. */
const endOnFault = (logger: Logger): void => {
  const end = (error: unknown): void => {
    logger.fatal({ err: error }, 'a fault that nobody caught')
    process.stderr.write(
      `atoll: a fault that nobody caught, ending: ${error instanceof Error ? error.stack : String(error)}\n`,
    )
    process.exit(1)
  }
  process.on('uncaughtException', end)
  process.on('unhandledRejection', end)
}
