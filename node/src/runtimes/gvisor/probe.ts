import { AtollError } from '@atoll/protocol'
import { probeBoot } from '../../host/probe-boot.ts'
import { run } from '../../host/run.ts'
import type { Capabilities } from '../driver.ts'
import { gvisorLimits } from './limits.ts'
import { type GvisorHost, type Platform, runscBuild, versionOf } from './options.ts'
import { start } from './start.ts'

const versionTimeoutMs = 10_000
const installRemedy = `install runsc of build ${runscBuild}: apt-get install -t bookworm-backports runsc`

/** Boots a sandbox with nothing in it but the agent, has it run a command, and ends it. */
export const probe = async (host: GvisorHost, signal: AbortSignal): Promise<Capabilities> => {
  const platforms: Platform[] = host.ptraceAllowed ? ['systrap', 'ptrace'] : ['systrap']
  try {
    await checkBuild(host, signal)
  } catch (error) {
    signal.throwIfAborted()
    return unavailable(host, messageOf(error), remedyOf(error) ?? installRemedy)
  }
  let fault: unknown
  for (const platform of platforms) {
    host.platform = platform
    try {
      await probeBoot('gvisor', host, (spec, bootSignal) => start(host, spec, bootSignal), signal)
      return capabilitiesOf(host)
    } catch (error) {
      signal.throwIfAborted()
      fault = error
    }
  }
  host.platform = 'systrap'
  return unavailable(
    host,
    messageOf(fault),
    remedyOf(fault) ?? 'look at the message; `atoll doctor` names what is missing',
  )
}

const checkBuild = async (host: GvisorHost, signal: AbortSignal): Promise<void> => {
  const act = 'ask runsc for its version'
  const { stdout } = await run({
    act,
    file: host.runscPath,
    args: ['--version'],
    timeoutMs: versionTimeoutMs,
    signal,
  })
  const version = /^runsc version (\S+)/m.exec(stdout)?.[1] ?? 'unknown'
  if (version.includes(runscBuild)) return
  throw new AtollError(
    'runtime_unavailable',
    `cannot use runsc ${version}: only build ${runscBuild} is known to work here`,
    { remedy: installRemedy },
  )
}

const capabilitiesOf = (host: GvisorHost): Capabilities => ({
  available: true,
  version: versionOf(host),
  isolation:
    'gVisor: system calls are served by a kernel in user space that runs as an unprivileged user of its own; no folder of the host is reachable.',
  strength: 'strong',
  memorySnapshot: host.controlPath === 'socket',
  // Both above this driver, by the guest's layer: the disk's pages are a part of gVisor's memory.
  diskStop: true,
  diskSnapshot: 'guest',
  freeze: true,
  resize: true,
  limits: {
    cpu: 'enforced',
    memory: 'enforced',
    processes: 'enforced',
    disk: 'enforced',
    openFiles: 'enforced',
  },
  notes: [
    ...(host.platform === 'ptrace'
      ? ['Platform ptrace, allowed by an option: system calls are 3 to 6 times slower.']
      : []),
    'An out-of-memory kill by the host ends the whole sandbox; the agent ends the biggest process before that.',
    'No io_uring, pidfd_open, openat2, copy_file_range, landlock, fanotify, nor Docker inside.',
    'No network but loopback yet.',
    `The number of CPUs is fixed in an image: one from a template shows at most ${gvisorLimits.usualKernelCpus}, whatever was asked for.`,
    'Forks and snapshots do not share memory with each other: each has its own copy.',
  ],
})

const unavailable = (host: GvisorHost, reason: string, remedy: string): Capabilities => ({
  ...capabilitiesOf(host),
  available: false,
  unavailable: { reason, remedy },
  memorySnapshot: false,
  diskStop: false,
  diskSnapshot: 'none',
  freeze: false,
  resize: false,
  limits: { cpu: 'none', memory: 'none', processes: 'none', disk: 'none', openFiles: 'none' },
})

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
const remedyOf = (error: unknown): string | undefined =>
  error instanceof AtollError ? error.remedy : undefined
