import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'

/** One process of the host, as /proc shows it. */
export interface HostProcess {
  readonly pid: number
  readonly parent: number
  readonly startTime: number
  readonly name: string
  readonly commandLine: string
  readonly cgroups: string
}

/** What `read` answers, or undefined where the process went away or is not ours to look at. */
export const ifThere = <Value>(read: () => Value): Value | undefined => {
  try {
    return read()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ESRCH' || code === 'EINVAL' || code === 'EACCES' || code === 'ENOTDIR')
      return undefined
    throw error
  }
}

/** Every process that lives now; zombies are left out, since only their parent can end them. */
export const hostProcesses = (): HostProcess[] =>
  readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map((entry) => hostProcess(Number(entry)))
    .filter((found) => found !== undefined)

/** One process by its id; undefined when it is gone or a zombie. */
export const hostProcess = (pid: number): HostProcess | undefined => {
  const stat = ifThere(() => readFileSync(`/proc/${pid}/stat`, 'utf8'))
  if (stat === undefined) return undefined
  // The name is in parentheses and may hold spaces and parentheses itself.
  const [state, parent, ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  if (state === 'Z' || state === 'X') return undefined
  return {
    pid,
    parent: Number(parent),
    startTime: Number(rest[17]),
    name: stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')')),
    commandLine: (ifThere(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8')) ?? '')
      .replaceAll('\0', ' ')
      .trim(),
    cgroups: ifThere(() => readFileSync(`/proc/${pid}/cgroup`, 'utf8')) ?? '',
  }
}

/** Resident memory in bytes, and the highest it ever was. */
export const residentBytes = (pid: number): { now: number; peak: number } => {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const kib = (field: string): number => {
    const match = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)
    if (match === null) throw new Error(`cannot measure process ${pid}: its status has no ${field}`)
    return Number(match[1]) * 1024
  }
  return { now: kib('VmRSS'), peak: kib('VmHWM') }
}

/** Sets the peak back to what is resident now, so that one drill can be measured. */
export const resetPeak = (pid: number): void => writeFileSync(`/proc/${pid}/clear_refs`, '5')

/** What the descriptors of a process point to. */
export const descriptorsOf = (pid: number): string[] =>
  (ifThere(() => readdirSync(`/proc/${pid}/fd`)) ?? [])
    .map((fd) => ifThere(() => readlinkSync(`/proc/${pid}/fd/${fd}`)))
    .filter((target) => target !== undefined)

/** Kills by id and start time: a pid alone identifies nothing. True when it was there. */
export const killExactly = (target: HostProcess, signal: NodeJS.Signals = 'SIGKILL'): boolean => {
  if (hostProcess(target.pid)?.startTime !== target.startTime) return false
  try {
    return process.kill(target.pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
    throw error
  }
}
