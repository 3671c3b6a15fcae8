import { AtollError } from '@atoll/protocol'
import { probeBoot } from '../../host/probe-boot.ts'
import { runOk } from '../../host/run.ts'
import type { Capabilities } from '../driver.ts'
import type { ContainerHost } from './options.ts'
import { start } from './start.ts'

const versionTimeoutMs = 10_000
const installRemedy = 'install crun 1.8 or newer: apt-get install crun'

/** Boots a container with nothing in it but the agent, has it run a command, and ends it. */
export const probe = async (host: ContainerHost, signal: AbortSignal): Promise<Capabilities> => {
  try {
    const act = 'ask crun for its version'
    const { stdout } = await runOk({
      act,
      file: host.crunPath,
      args: ['--version'],
      timeoutMs: versionTimeoutMs,
      signal,
    })
    host.version = `crun ${/^crun version (\S+)/m.exec(stdout)?.[1] ?? 'unknown'}`
    await probeBoot('container', host, (spec, bootSignal) => start(host, spec, bootSignal), signal)
    return capabilitiesOf(host)
  } catch (error) {
    signal.throwIfAborted()
    const reason = error instanceof Error ? error.message : String(error)
    const remedy = (error instanceof AtollError ? error.remedy : undefined) ?? installRemedy
    return {
      ...capabilitiesOf(host),
      available: false,
      unavailable: { reason, remedy },
      diskStop: false,
      diskSnapshot: 'none',
      freeze: false,
      resize: false,
      limits: { cpu: 'none', memory: 'none', processes: 'none', disk: 'none', openFiles: 'none' },
    }
  }
}

const capabilitiesOf = (host: ContainerHost): Capabilities => ({
  available: true,
  version: host.version,
  isolation:
    "Container: namespaces with a user namespace of its own, a default-deny seccomp filter and dropped capabilities stand before the host's own kernel.",
  strength: 'weak',
  memorySnapshot: false,
  diskStop: true,
  diskSnapshot: 'host',
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
    "The code inside talks to the host's kernel: a fault in the kernel is a way out. Use gvisor for code of strangers.",
    'Set-user-id programs gain nothing inside; sudo is served by the guest agent.',
    "A user's root keeps file capabilities within its own user namespace (chown, setuid, kill); all others are dropped.",
    "/proc/meminfo shows the size of the start and no use; /proc/cpuinfo, /proc/stat and /proc/uptime are the host's.",
    'The count of CPUs is an affinity that a program may widen; the share of CPU time is enforced all the same.',
    'No network but loopback yet.',
  ],
})
