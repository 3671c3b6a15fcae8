import { mkdtemp, rm } from 'node:fs/promises'
import { hostDrivers } from '../host-parts.ts'
import type { Options } from '../options.ts'
import { findPrograms } from '../programs.ts'
import { type Check, type Finding, messageOf, missing } from './check.ts'
import { checkFolder, checkPort } from './folder.ts'
import {
  checkCgroups,
  checkLoop,
  checkNode,
  checkOverlay,
  checkRcu,
  checkRoot,
  checkUserNamespaces,
} from './host.ts'
import { checkLeftovers } from './leftovers.ts'
import { describe, verdictOf } from './report.ts'
import { checkRuntimes } from './runtimes.ts'
import { checkPrograms, checkRunsc, checkTools } from './tools.ts'

/** Tries everything that Atoll needs here, by doing it; the answer is the exit code. */
export const doctor = async (options: Options): Promise<number> => {
  const { signal } = new AbortController()
  const findings: Finding[] = []
  const checks: readonly [string, Check][] = [
    ['node', checkNode],
    ['root', checkRoot],
    ['data folder', checkFolder(options.dataFolder)],
    ['port', checkPort(options.dataFolder, options.address)],
    ['user namespaces', checkUserNamespaces],
    ['overlay', checkOverlay],
    ['loop, erofs and ext4', checkLoop],
    ['cgroups', checkCgroups],
    ['tools', checkTools],
    ['runsc', checkRunsc],
    ['programs', checkPrograms],
    ['runtimes', bootEach],
    ['leftovers', checkLeftovers(options.dataFolder)],
    ['rcu_expedited', checkRcu],
  ]
  for (const [name, check] of checks) findings.push(...(await attempt(name, check, signal)))
  const ready = findings.every(({ status }) => status !== 'missing')
  process.stdout.write(
    options.json
      ? `${JSON.stringify({ ready, findings }, null, 2)}\n`
      : `${describe(findings)}\n${verdictOf(findings)}\n`,
  )
  return ready ? 0 : 1
}

const attempt = async (name: string, check: Check, signal: AbortSignal): Promise<readonly Finding[]> => {
  try {
    const found = await check(signal)
    return 'status' in found ? [found] : found
  } catch (error) {
    return [missing(name, messageOf(error))]
  }
}

/** In a folder of its own: a daemon that runs here is not disturbed. */
const bootEach: Check = async (signal) => {
  const folder = await mkdtemp('/tmp/atoll-doctor-')
  try {
    return await checkRuntimes(hostDrivers(folder, findPrograms()), signal)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
