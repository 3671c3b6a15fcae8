import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeJson } from '../../host/files.ts'
import { type Launch, launch } from '../../host/launcher.ts'
import { meminfoOf } from '../../host/meminfo.ts'
import { keepLimits } from '../../host/recover-limits.ts'
import { shimmedMachine } from '../../host/shimmed-machine.ts'
import type { Machine, MachineSpec } from '../driver.ts'
import { startCalls } from './control-calls.ts'
import { gvisorLimits, translation } from './limits.ts'
import { type GvisorHost, versionOf } from './options.ts'
import { controlSocket, diskFolder, ociSpec, stateFiles } from './spec.ts'

/** Boots a sandbox of gVisor. */
export const start = async (host: GvisorHost, spec: MachineSpec, signal: AbortSignal): Promise<Machine> => {
  signal.throwIfAborted()
  await prepare(host, spec)
  const started = await launch(host.launcherPath, launchOf(host, spec), signal)
  const { timings, ...pids } = started
  return shimmedMachine({
    launcherPath: host.launcherPath,
    record: { runtime: 'gvisor', id: spec.id, directory: spec.directory, ...pids, version: versionOf(host) },
    limits: spec.limits,
    timings,
    translation,
  })
}

const prepare = async (host: GvisorHost, spec: MachineSpec): Promise<void> => {
  // Files of a sandbox that a reboot of the host ended: runsc would refuse the id.
  for (const path of stateFiles(host, spec)) await rm(path, { force: true })
  await rm(join(spec.directory, 'exit.json'), { force: true })
  await mkdir(host.emptyRoot, { recursive: true, mode: 0o755 })
  await mkdir(diskFolder(spec.directory), { recursive: true, mode: 0o700 })
  await keepLimits(spec.directory, spec.limits)
  await writeJson(join(spec.directory, 'config.json'), ociSpec(host, spec))
  await writeFile(join(spec.directory, 'meminfo'), meminfoOf(spec.limits.memoryBytes))
}

const launchOf = (host: GvisorHost, spec: MachineSpec): Launch => {
  const { id, directory, limits } = spec
  const runsc = (...words: string[]) => ({
    argv: [host.runscPath, ...runscFlags(host), ...words],
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
  })
  const bySocket = host.controlPath === 'socket'
  return {
    id,
    directory,
    kind: 'gvisor',
    create: runsc('create', '--bundle', directory, id),
    start: bySocket ? null : runsc('start', id),
    pidFile: null,
    stateFiles: stateFiles(host, spec),
    timeoutMs: gvisorLimits.startTimeoutMs,
    timerSlackNs: gvisorLimits.timerSlackNs,
    // What the sentry may use at boot is its GOMAXPROCS for ever. With one, a call to the agent takes 10 ms instead
    // of 3.7; the agent narrows what programs see, and the quota narrows what they get.
    cpuAffinityCount: Math.max(gvisorLimits.kernelCpus, Math.ceil(limits.cpuMillis / 1_000)),
    oomScoreAdj: 0,
    cgroup: {
      parent: host.cgroupParent,
      cpuMillis: limits.cpuMillis,
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
    gvisor: { controlSocket: controlSocket(host, id), calls: bySocket ? startCalls(id) : [] },
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
