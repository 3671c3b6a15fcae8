import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeJson } from '../../host/files.ts'
import { cpuWeightOf } from '../../host/cpu-weight.ts'
import { type Launch, launch } from '../../host/launcher.ts'
import { meminfoOf } from '../../host/meminfo.ts'
import { keepLimits } from '../../host/keep-limits.ts'
import type { Machine, MachineImage, MachineSpec } from '../driver.ts'
import { diskPath, ensureDisk, layDisk } from './disk.ts'
import { containerLimits, translation } from './limits.ts'
import { machineOf } from './machine.ts'
import type { ContainerHost } from './options.ts'
import { places } from './places.ts'
import { cgroupOwner, ociSpec } from './spec.ts'

/** Boots a container: on a copy of a disk image, or on the disk of an earlier one of the same folder. */
export const start = async (
  host: ContainerHost,
  spec: MachineSpec,
  signal: AbortSignal,
  disk?: MachineImage,
): Promise<Machine> => {
  signal.throwIfAborted()
  const began = performance.now()
  if (disk !== undefined) await layDisk(spec, disk, signal)
  await prepare(host, spec, signal)
  const preparedMs = performance.now() - began
  const { timings, ...pids } = await launch(host.launcherPath, launchOf(host, spec), signal)
  const { id, directory, limits } = spec
  const record = { runtime: 'container' as const, id, directory, ...pids, version: host.version }
  return machineOf(host, record, limits, { prepare: preparedMs, ...timings })
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
      cpuWeight: cpuWeightOf(spec.weight),
      ...translation.toHost(limits),
      delegate: { ownerUid: uidBase + cgroupOwner, mountpoint: places.cgroup },
      memoryMountpoint: places.memory,
      pidsMountpoint: places.pids,
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
