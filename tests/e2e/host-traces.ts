import { readdirSync, readFileSync, readlinkSync, rmdirSync } from 'node:fs'
import { join, relative } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { descriptorsOf, hostProcesses, ifThere } from './host-processes.ts'

/**
 * Everything on the host that names this stack or one of its sandboxes. Other stacks and test files run at
 * the same time, so a trace counts by positive reference: the stack's data folder or a sandbox id is in it.
 */
export interface HostTraces {
  readonly processes: readonly string[]
  readonly mounts: readonly string[]
  readonly networkNamespaces: readonly string[]
  readonly cgroups: readonly string[]
  readonly sockets: readonly string[]
  readonly loopDevices: readonly string[]
  readonly files: readonly string[]
  /** What the daemon itself holds open, by kind: a descriptor that is never closed is a leak like any other. */
  readonly descriptors: readonly string[]
}

export interface TraceScope {
  readonly dataFolder: string
  readonly daemonPid: number
  /** Ids of the sandboxes that the drill made so far. */
  readonly sandboxes: Iterable<string>
}

/** Deepest folder that is looked at, and most entries: the counter has limits too. */
const maxDepth = 8
const maxEntries = 200_000
/** What may rightly change while nothing leaks: databases, their logs, and text logs. */
const livingFile = /\.(db|db-wal|db-shm|log|lock|pid)$|(^|\/)(lock|daemon\.json)$/

/** Takes stock of the host. */
export const takeTraces = (scope: TraceScope): HostTraces => {
  const marks = [scope.dataFolder, ...scope.sandboxes]
  const isOurs = (text: string): boolean => marks.some((mark) => text.includes(mark))
  const processes = hostProcesses().filter(
    (found) =>
      found.pid !== process.pid &&
      found.pid !== scope.daemonPid &&
      (isOurs(found.commandLine) || isOurs(found.cgroups)),
  )
  return {
    processes: processes.map(({ name, commandLine }) => `${name}: ${commandLine}`).sort(),
    mounts: mountsSeen().filter(isOurs).sort(),
    networkNamespaces: namedNamespaces()
      .filter(isOurs)
      .concat(namespacesOf(processes.map(({ pid }) => pid))),
    cgroups: cgroupFolders().filter(isOurs).sort(),
    sockets: unixSockets().filter(isOurs).sort(),
    loopDevices: loopDevices().filter(isOurs).sort(),
    files: [
      ...filesBelow(scope.dataFolder).filter((path) => !livingFile.test(path)),
      ...['/run', '/tmp', '/dev/shm'].flatMap((folder) => strayFiles(folder, scope.dataFolder, isOurs)),
    ].sort(),
    descriptors: descriptorKinds(scope.daemonPid),
  }
}

/** What is there after and was not there before, and the other way round; empty objects mean zero difference. */
export const differenceOf = (before: HostTraces, after: HostTraces): Record<string, string[]> => {
  const difference: Record<string, string[]> = {}
  for (const kind of Object.keys(before) as (keyof HostTraces)[]) {
    const appeared = minus(after[kind], before[kind]).map((trace) => `appeared: ${trace}`)
    const vanished = minus(before[kind], after[kind]).map((trace) => `vanished: ${trace}`)
    if (appeared.length + vanished.length > 0) difference[kind] = [...appeared, ...vanished]
  }
  return difference
}

/** Waits until nothing differs, at most `settleMs`: a shim ends itself after it has answered its receipt. */
export const settledDifference = async (
  before: HostTraces,
  take: () => HostTraces,
  settleMs = 5_000,
): Promise<Record<string, string[]>> => {
  const until = performance.now() + settleMs
  for (;;) {
    const difference = differenceOf(before, take())
    if (Object.keys(difference).length === 0 || performance.now() > until) return difference
    await delay(100)
  }
}

/** Removes the cgroups of one sandbox, deepest first: what a reboot does to them. */
export const removeCgroups = async (sandbox: string, timeoutMs = 5_000): Promise<void> => {
  const until = performance.now() + timeoutMs
  // The last of its processes may still be on their way out: EBUSY until then.
  for (const folder of cgroupFolders()
    .toReversed()
    .filter((path) => path.includes(sandbox)))
    while (!wasRemoved(folder)) {
      if (performance.now() > until) throw new Error(`cannot remove ${folder}: it is still in use`)
      await delay(20)
    }
}

const wasRemoved = (folder: string): boolean => {
  try {
    rmdirSync(folder)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EBUSY') return false
    throw error
  }
}

const minus = (left: readonly string[], right: readonly string[]): string[] => {
  const rest = [...right]
  return left.filter((item) => {
    const at = rest.indexOf(item)
    if (at === -1) return true
    rest.splice(at, 1)
    return false
  })
}

/** Mounts of every mount namespace that some process lives in, each namespace once. */
const mountsSeen = (): string[] => {
  const seen = new Set<string>()
  return hostProcesses().flatMap(({ pid }) => {
    const namespace = ifThere(() => readlinkSync(`/proc/${pid}/ns/mnt`))
    if (namespace === undefined || seen.has(namespace)) return []
    seen.add(namespace)
    const table = ifThere(() => readFileSync(`/proc/${pid}/mountinfo`, 'utf8')) ?? ''
    // Field 1 and 2 are ids that differ at each mount; what is mounted where is what counts.
    return table
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.split(' ').slice(3).join(' '))
  })
}

const namedNamespaces = (): string[] =>
  (ifThere(() => readdirSync('/run/netns')) ?? []).map((name) => `/run/netns/${name}`)

const namespacesOf = (pids: readonly number[]): string[] => {
  const host = readlinkSync('/proc/self/ns/net')
  const links = pids.map((pid) => ifThere(() => readlinkSync(`/proc/${pid}/ns/net`)))
  return [...new Set(links.filter((link) => link !== undefined && link !== host))].map(
    () => 'held by a process',
  )
}

const cgroupFolders = (): string[] => foldersBelow('/sys/fs/cgroup')

const unixSockets = (): string[] =>
  readFileSync('/proc/net/unix', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/)[7] ?? '')
    .filter((path) => path !== '')

const loopDevices = (): string[] =>
  readdirSync('/sys/block')
    .filter((name) => name.startsWith('loop'))
    .map((name) => ifThere(() => readFileSync(`/sys/block/${name}/loop/backing_file`, 'utf8').trim()))
    .filter((path) => path !== undefined)

const descriptorKinds = (pid: number): string[] =>
  descriptorsOf(pid)
    // TCP connections of the test's own client come and go with its keep-alive.
    .map((target) => target.replace(/\[\d+\]/, '').replace(/\d{3,}/g, 'N'))
    .filter((target) => !/^(socket:|anon_inode|pipe:)/.test(target))
    .sort()

const filesBelow = (folder: string): string[] =>
  walk(folder, () => true).map((path) => relative(folder, path))

const foldersBelow = (folder: string): string[] => walk(folder, (_, isFolder) => isFolder)

/** Files of a shared folder that carry our mark in their name; the data folder itself is walked apart. */
const strayFiles = (folder: string, dataFolder: string, isOurs: (text: string) => boolean): string[] =>
  walk(folder, (path) => isOurs(path), dataFolder)

const walk = (
  top: string,
  keep: (path: string, isFolder: boolean) => boolean,
  except?: string,
  depth = 0,
  found: string[] = [],
): string[] => {
  if (depth > maxDepth || found.length > maxEntries || top === except) return found
  for (const entry of ifThere(() => readdirSync(top, { withFileTypes: true })) ?? []) {
    const path = join(top, entry.name)
    if (path === except) continue
    if (keep(path, entry.isDirectory())) found.push(path)
    if (entry.isDirectory()) walk(path, keep, except, depth + 1, found)
  }
  return found
}
