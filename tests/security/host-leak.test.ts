import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import type { Sandbox } from '@atoll/sdk'
import { attackEach, plantedSecret } from './battery.ts'
import { pidsOf, sandboxFolder, statusLine } from './sandbox-folder.ts'

/** First host id of all sandboxes' ranges; below it are people and services of the host. */
const firstSandboxUid = 200_000
const idsPerSandbox = 65_536

/** What gVisor's kernel may hold open: image, memory, disk file, channels, kernel objects; no folder of the host. */
const allowedDescriptor =
  /^(\/memfd:|socket:\[|anon_inode:|pipe:\[|\/dev\/null$|.*\.erofs$|.*\.gvisor\.filestore\.|.*\/runtime\.log$|.*\(deleted\)$|\/null$|\/$|\/proc$|\/proc\/self\/fd$)/

attackEach('host leaks', ({ create, stack, runtime }) => {
  let sandbox: Sandbox
  let runtimePid: number
  let shimPid: number
  beforeAll(async () => {
    sandbox = await create()
    ;({ runtimePid, shimPid } = pidsOf(stack(), sandbox.id))
  })

  it('runs as a uid of its own range, in all threads, with seccomp on', () => {
    const uid = Number(statusLine(runtimePid, 'Uid').split('\t')[0])
    expect(uid).toBeGreaterThanOrEqual(firstSandboxUid)
    for (const thread of readdirSync(`/proc/${runtimePid}/task`)) {
      const task = `${runtimePid}/task/${thread}`
      expect(statusLine(task, 'Uid').split('\t').map(Number)).toEqual([uid, uid, uid, uid])
      if (runtime === 'gvisor') expect(statusLine(task, 'Seccomp')).toBe('2')
      expect(statusLine(task, 'Groups').trim(), 'supplementary groups of the host').toMatch(/^$|^2\d{5}/)
    }
  })

  it('shares no id of the host with another sandbox', async () => {
    const other = await create()
    const [one, two] = [runtimePid, pidsOf(stack(), other.id).runtimePid].map((pid) =>
      Math.floor((Number(statusLine(pid, 'Uid').split('\t')[0]) - firstSandboxUid) / idsPerSandbox),
    )
    expect(one).not.toBe(two)
  })

  it('is in namespaces of its own', () => {
    // runsc 20240729 leaves its kernel in the host's pid namespace: with a uid of its own it may signal nobody there.
    const own = runtime === 'gvisor' ? [] : ['pid']
    for (const name of ['mnt', 'net', 'ipc', 'uts', 'user', ...own])
      expect(readlinkSync(`/proc/${runtimePid}/ns/${name}`), name).not.toBe(
        readlinkSync(`/proc/self/ns/${name}`),
      )
  })

  it('user commands have a filter and no capability that matters', async () => {
    const status = await sandbox.run('grep -E "^(Cap(Eff|Prm|Amb|Inh)|Seccomp):" /proc/self/status; id -u')
    expect(status.stdout).not.toMatch(/^Cap(Eff|Prm|Amb|Inh):\t.*[1-9a-f]/m)
    const root = await sandbox.run(
      `python3 -c '
caps = int(next(l for l in open("/proc/self/status") if l.startswith("CapEff")).split()[1], 16)
for name, bit in (("NET_ADMIN", 12), ("SYS_MODULE", 16), ("SYS_RAWIO", 17), ("SYS_ADMIN", 21), ("SYS_BOOT", 22), ("SYS_RESOURCE", 24), ("SYS_TIME", 25), ("BPF", 39)):
    if caps >> bit & 1: print(name)'`,
      { user: 'root' },
    )
    expect(root.stdout).toBe('')
    if (runtime === 'container')
      expect((await sandbox.run('grep Seccomp: /proc/self/status')).stdout).toContain('2')
  })

  it.runIf(runtime === 'gvisor')('its kernel holds no folder and no file of the host but its own', () => {
    const held = readdirSync(`/proc/${runtimePid}/fd`).map((fd) =>
      readlinkSync(`/proc/${runtimePid}/fd/${fd}`),
    )
    const folder = sandboxFolder(stack(), sandbox.id)
    expect(
      held.filter((target) => !allowedDescriptor.test(target) && !target.startsWith(`${folder}/`)),
    ).toEqual([])
  })

  it.runIf(runtime === 'gvisor')("its kernel's root on the host is an empty place", () => {
    const root = readdirSync(`/proc/${runtimePid}/root`).sort()
    expect(root.filter((name) => !['proc', 'etc', 'dev', 'tmp'].includes(name))).toEqual([])
  })

  it('finds nothing of the host by name inside', async () => {
    const paths = [
      stack().dataFolder,
      '/var/lib/atoll',
      '/run/docker.sock',
      '/host',
      '/proc/1/root/var/lib/atoll',
    ]
    const seen = await sandbox.run(`ls -d ${paths.join(' ')} 2>/dev/null || true`, { user: 'root' })
    expect(seen.stdout).toBe('')
  })

  describe('what belongs to the host stays on the host', () => {
    it("the daemon's environment and key are not handed to the shim or the runtime", () => {
      for (const pid of [shimPid, runtimePid]) {
        const text =
          readFileSync(`/proc/${pid}/environ`, 'latin1') + readFileSync(`/proc/${pid}/cmdline`, 'latin1')
        expect(text).not.toContain(plantedSecret.value)
        expect(text).not.toContain(stack().apiKey)
      }
    })

    it('no key and no environment of a user lies in readable files of the data folder', async () => {
      await sandbox.run(['true'], { env: { TOKEN: 'process-secret-93b1' } })
      const texts = readdirSync(stack().dataFolder, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile() && /\.(log|json|txt)$/.test(entry.name))
        .map((entry) => join(entry.parentPath, entry.name))
        .filter((path) => !/cli\.json$|config\.json$/.test(path))
      for (const path of texts) {
        const text = readFileSync(path, 'latin1')
        expect(text, path).not.toContain('process-secret-93b1')
        if (!path.endsWith('up-output.txt')) expect(text, path).not.toContain(stack().apiKey)
      }
    })

    it('records and keys are for root only', () => {
      for (const name of ['atoll.db', 'node.db'])
        expect(statSync(join(stack().dataFolder, name)).mode & 0o077).toBe(0)
      expect(statSync(sandboxFolder(stack(), sandbox.id)).mode & 0o077).toBe(0)
      for (const entry of readdirSync(join(stack().dataFolder, 'keys')))
        expect(statSync(join(stack().dataFolder, 'keys', entry)).mode & 0o077).toBe(0)
    })
  })

  it("a changed /.atoll/agent is the sandbox's own loss: neither the image nor a neighbour sees it", async () => {
    const own = await create()
    await own.run('cp /bin/true /tmp/fake && cat /tmp/fake > /.atoll/agent || mv /tmp/fake /.atoll/agent', {
      user: 'root',
    })
    expect((await own.run('echo alive')).stdout).toBe('alive\n')
    const next = await create()
    const same = await next.run('head -c 64 /.atoll/agent | od -An -tx1; stat -c %s /.atoll/agent')
    const before = await sandbox.run('head -c 64 /.atoll/agent | od -An -tx1; stat -c %s /.atoll/agent')
    expect(same.stdout).toBe(before.stdout)
  })
})
