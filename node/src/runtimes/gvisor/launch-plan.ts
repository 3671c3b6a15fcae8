import { mkdir, rm, writeFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { cpuWeightOf } from '../../host/cpu-weight.ts'
import { writeJson } from '../../host/files.ts'
import { keepLimits } from '../../host/keep-limits.ts'
import type { Command, Launch } from '../../host/launcher.ts'
import { meminfoOf } from '../../host/meminfo.ts'
import type { MachineSpec } from '../driver.ts'
import type { ControlCall } from './control-calls.ts'
import { gvisorLimits, translation } from './limits.ts'
import type { GvisorHost } from './options.ts'
import { controlSocket, diskFolder, ociSpec, stateFiles } from './spec.ts'

/** Makes the sandbox's folder ready for `launch`. */
export const prepare = async (host: GvisorHost, spec: MachineSpec): Promise<void> => {
  // Files of a sandbox that a reboot of the host ended: runsc would refuse the id.
  for (const path of stateFiles(host, spec)) await rm(path, { force: true })
  await rm(join(spec.directory, 'exit.json'), { force: true })
  await mkdir(host.emptyRoot, { recursive: true, mode: 0o755 })
  await mkdir(diskFolder(spec.directory), { recursive: true, mode: 0o700 })
  await keepLimits(spec.directory, spec.limits)
  await writeJson(join(spec.directory, 'config.json'), ociSpec(host, spec))
  await writeFile(join(spec.directory, 'meminfo'), meminfoOf(spec.limits.memoryBytes))
}

/** LAUNCH.json of a sandbox that gets `boot` once its gVisor is there: calls on its socket, or words for runsc. */
export const launchOf = (
  host: GvisorHost,
  spec: MachineSpec,
  boot: { readonly calls: readonly ControlCall[] } | { readonly words: readonly string[] },
): Launch => {
  const { id, directory, limits } = spec
  const runsc = (...words: string[]): Command => ({
    argv: [host.runscPath, ...runscFlags(host), ...words],
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
  })
  return {
    id,
    directory,
    kind: 'gvisor',
    create: runsc('create', '--bundle', directory, id),
    start: 'words' in boot ? runsc(...boot.words) : null,
    pidFile: null,
    stateFiles: stateFiles(host, spec),
    timeoutMs: gvisorLimits.startTimeoutMs,
    timerSlackNs: gvisorLimits.timerSlackNs,
    cpuAffinityCount: kernelCpus(limits.cpuMillis),
    oomScoreAdj: 0,
    cgroup: {
      parent: host.cgroupParent,
      cpuMillis: limits.cpuMillis,
      cpuWeight: cpuWeightOf(spec.weight),
      ...translation.toHost(limits),
      delegate: null,
      memoryMountpoint: null,
    },
    scratch: null,
    masks: [
      // runsc tells the guest the MemTotal that it reads here.
      { file: join(directory, 'meminfo'), over: '/proc/meminfo' },
      // runsc takes its presence for "we are in the host's network namespace" and refuses (Linux 6.18).
      { tmpfs: '/proc/sys/net' },
    ],
    disk: null,
    rootfs: null,
    gvisor: { controlSocket: controlSocket(host, id), calls: 'calls' in boot ? boot.calls : [] },
    deadlineUnixMs: spec.deadlineUnixMs,
  }
}

const runscFlags = (host: GvisorHost): string[] => [
  `--root=${host.stateFolder}`,
  `--platform=${host.platform}`,
  '--network=none',
  '--ignore-cgroups',
  '--overlay2=none',
  '--host-uds=none',
  '--net-disconnect-ok',
]

/**
 * What the sentry may use at boot is its GOMAXPROCS for ever, and a machine of the pool is older than its limit:
 * the same for all. With one, a call to the agent takes 10 ms instead of 3.7. The agent narrows what programs see,
 * and the quota narrows what they get.
 */
const kernelCpus = (cpuMillis: number): number =>
  Math.max(
    gvisorLimits.leastKernelCpus,
    Math.min(availableParallelism(), gvisorLimits.usualKernelCpus),
    Math.ceil(cpuMillis / 1_000),
  )
