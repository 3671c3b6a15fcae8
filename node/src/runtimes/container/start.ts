import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeJson } from '../../host/files.ts'
import { type Launch, launch } from '../../host/launcher.ts'
import { meminfoOf } from '../../host/meminfo.ts'
import { keepLimits } from '../../host/recover-limits.ts'
import { shimmedMachine } from '../../host/shimmed-machine.ts'
import type { Machine, MachineSpec } from '../driver.ts'
import { diskPath, ensureDisk } from './disk.ts'
import { containerLimits, translation } from './limits.ts'
import type { ContainerHost } from './options.ts'
import { places } from './places.ts'
import { cgroupOwner, ociSpec } from './spec.ts'

/** Boots a container, on the disk of an earlier one of the same folder where there is one. */
export const start = async (
  host: ContainerHost,
  spec: MachineSpec,
  signal: AbortSignal,
): Promise<Machine> => {
  signal.throwIfAborted()
  const began = performance.now()
  await prepare(host, spec, signal)
  const preparedMs = performance.now() - began
  const { timings, ...pids } = await launch(host.launcherPath, launchOf(host, spec), signal)
  return shimmedMachine({
    launcherPath: host.launcherPath,
    record: { runtime: 'container', id: spec.id, directory: spec.directory, ...pids, version: host.version },
    limits: spec.limits,
    timings: { prepare: preparedMs, ...timings },
    translation,
  })
}

/** crun's own folder of a container. */
const stateFolderOf = (host: ContainerHost, id: string): string => join(host.stateFolder, id)

const prepare = async (host: ContainerHost, spec: MachineSpec, signal: AbortSignal): Promise<void> => {
  await mkdir(host.stateFolder, { recursive: true, mode: 0o700 })
  // Left by a reboot of the host: crun would refuse the id.
  await rm(stateFolderOf(host, spec.id), { recursive: true, force: true })
  await rm(join(spec.directory, 'exit.json'), { force: true })
  await keepLimits(spec.directory, spec.limits)
  await writeJson(join(spec.directory, 'config.json'), ociSpec(spec))
  await writeFile(join(spec.directory, 'meminfo'), meminfoOf(spec.limits.memoryBytes), { mode: 0o444 })
  await ensureDisk(spec, signal)
}

const launchOf = (host: ContainerHost, spec: MachineSpec): Launch => {
  const { id, directory, limits, uidBase } = spec
  const pidFile = join(directory, 'runtime.pid')
  return {
    id,
    directory,
    kind: 'container',
    create: {
      argv: [
        host.crunPath,
        `--root=${host.stateFolder}`,
        // The launcher has placed the process; crun refuses hosts with both cgroup versions.
        '--cgroup-manager=disabled',
        'run',
        '--detach',
        `--bundle=${directory}`,
        `--pid-file=${pidFile}`,
        id,
      ],
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
    },
    start: null,
    pidFile,
    stateFiles: [stateFolderOf(host, id)],
    timeoutMs: containerLimits.startTimeoutMs,
    timerSlackNs: containerLimits.timerSlackNs,
    cpuAffinityCount: Math.max(1, Math.ceil(limits.cpuMillis / 1_000)),
    oomScoreAdj: containerLimits.oomScoreAdj,
    cgroup: {
      parent: host.cgroupParent,
      cpuMillis: limits.cpuMillis,
      ...translation.toHost(limits),
      delegate: { ownerUid: uidBase + cgroupOwner, mountpoint: places.cgroup },
      memoryMountpoint: places.memory,
    },
    scratch: places.scratch,
    masks: [{ file: join(directory, 'meminfo'), over: places.meminfo }],
    disk: { image: diskPath(directory), mountpoint: places.disk },
    rootfs: {
      erofs: spec.imagePath,
      mountpoint: places.image,
      overlayUpper: places.upper,
      overlayWork: places.work,
      merged: places.root,
      idmapBase: uidBase,
    },
    gvisor: null,
    deadlineUnixMs: spec.deadlineUnixMs,
  }
}
