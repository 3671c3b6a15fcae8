import { readFileSync } from 'node:fs'
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Check, messageOf, missing, ok, warning } from './check.ts'
import { tryCommand } from './try-command.ts'

const neededNodeMajor = 24

export const checkNode: Check = async () => {
  const major = Number(process.versions.node.split('.')[0])
  return major >= neededNodeMajor
    ? ok('node', `Node ${process.versions.node}`)
    : missing(
        'node',
        `Node ${process.versions.node}, and ${neededNodeMajor} is needed`,
        'npm ci (brings its own Node)',
      )
}

export const checkRoot: Check = async () =>
  process.getuid?.() === 0
    ? ok('root', 'runs as root, which mounts, namespaces and cgroups need')
    : missing('root', `runs as uid ${process.getuid?.() ?? 'unknown'}`, 'run it as root: sudo atoll doctor')

/** By unsharing one, not by reading a switch. */
export const checkUserNamespaces: Check = async (signal) => {
  const tried = await tryCommand(
    'unshare',
    ['--user', '--map-root-user', '--mount', '--pid', '--fork', 'true'],
    signal,
  )
  return tried.ok
    ? ok('user namespaces', 'a user, a mount and a pid namespace were made')
    : missing(
        'user namespaces',
        tried.reason,
        'sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000',
      )
}

/** Mounts an overlay in a namespace of its own, so that nothing of it stays. */
export const checkOverlay: Check = async (signal) =>
  inFolder('overlay', async (folder) => {
    const script = `set -e; mount -t tmpfs none ${folder}; cd ${folder}; mkdir lower upper work merged; echo x > lower/x
mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged; test "$(cat merged/x)" = x`
    const tried = await tryCommand('unshare', ['--mount', 'sh', '-c', script], signal)
    return tried.ok
      ? ok('overlay', 'an overlay was mounted')
      : missing('overlay', tried.reason, 'modprobe overlay')
  })

/** Makes an EROFS image and an ext4 disk and mounts both by loop devices. */
export const checkLoop: Check = async (signal) =>
  inFolder('loop, erofs and ext4', async (folder) => {
    await writeFile(join(folder, 'disk'), '')
    await truncate(join(folder, 'disk'), 16 * 1024 ** 2)
    const script = `set -e; cd ${folder}; mkdir root a b; echo x > root/x; mkfs.erofs image root >/dev/null; mkfs.ext4 -q disk
mount -t erofs -o ro,loop image a; test "$(cat a/x)" = x; mount -t ext4 -o loop disk b; echo y > b/y; umount a b`
    const tried = await tryCommand('unshare', ['--mount', 'sh', '-c', script], signal)
    return tried.ok
      ? ok('loop, erofs and ext4', 'an image and a disk were made, mounted and written')
      : missing(
          'loop, erofs and ext4',
          tried.reason,
          'modprobe loop erofs ext4; apt-get install erofs-utils e2fsprogs',
        )
  })

const inFolder = async (name: string, work: (folder: string) => ReturnType<Check>): ReturnType<Check> => {
  const folder = await mkdtemp(join(tmpdir(), 'atoll-doctor-'))
  try {
    return await work(folder)
  } catch (error) {
    return missing(name, messageOf(error))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Which version holds the controllers that limits need. */
export const checkCgroups: Check = async () => {
  const needed = ['memory', 'pids', 'cpu']
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n')
  const v1 = needed.filter((name) =>
    mounts.some((line) => / cgroup /.test(line) && new RegExp(`[ ,]${name}[ ,]`).test(line)),
  )
  if (v1.length === needed.length) return ok('cgroups', 'version 1 with memory, pids and cpu')
  const root = mounts.find((line) => / cgroup2 /.test(line))?.split(' ')[1]
  const v2 = root === undefined ? [] : readFileSync(join(root, 'cgroup.controllers'), 'utf8').split(/\s+/)
  const absent = needed.filter((name) => !v2.includes(name))
  return absent.length === 0
    ? ok('cgroups', 'version 2 with memory, pids and cpu')
    : missing(
        'cgroups',
        `no controller for ${absent.join(', ')}`,
        'mount cgroup2 with these controllers, or boot with them on',
      )
}

/** Host-wide and a trade: proposed, never set here. */
export const checkRcu: Check = async () => {
  const path = '/sys/kernel/rcu_expedited'
  try {
    if (readFileSync(path, 'utf8').trim() === '1')
      return ok('rcu_expedited', 'on: sandboxes start twice as fast')
    return warning(
      'rcu_expedited',
      'off: on a dedicated host, sandboxes start about twice as fast with it',
      `echo 1 > ${path}`,
    )
  } catch {
    return ok('rcu_expedited', 'this kernel has no such switch')
  }
}
