import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { differenceOf, takeTraces } from './host-traces.ts'

/** The negative twin of every leak check: each kind of leak, planted, must be seen, and taken away, be gone. */
describe('the leak counter', () => {
  const dataFolder = mkdtempSync('/tmp/atoll-traces-')
  const sandbox = `sbx_${'t'.repeat(12)}${process.pid
    .toString(36)
    .padStart(8, 'a')
    .replace(/[0189]/g, 'b')}`
  const take = () => takeTraces({ dataFolder, daemonPid: process.pid, sandboxes: [sandbox] })
  afterAll(() => rmSync(dataFolder, { recursive: true, force: true }))

  const expectSeen = async (kind: string, plant: () => Promise<() => unknown> | (() => unknown)) => {
    const before = take()
    const remove = await plant()
    try {
      expect(Object.keys(differenceOf(before, take()))).toContain(kind)
    } finally {
      await remove()
    }
    expect(differenceOf(before, take())).toEqual({})
  }

  it('sees nothing where nothing is', () => {
    expect(differenceOf(take(), take())).toEqual({})
  })

  it('sees a process, and one that lives in a namespace of its own', async () => {
    await expectSeen('processes', async () => {
      const child = spawn('sh', ['-c', 'read line', dataFolder], { stdio: ['pipe', 'ignore', 'ignore'] })
      await new Promise((resolve) => child.once('spawn', resolve))
      return async () => {
        const gone = new Promise((resolve) => child.once('exit', resolve))
        child.kill('SIGKILL')
        await gone
      }
    })
    await expectSeen('networkNamespaces', async () => {
      const child = spawn('unshare', ['-n', 'sh', '-c', 'echo in; read line', sandbox])
      await new Promise((resolve) => child.stdout.once('data', resolve))
      return async () => {
        const gone = new Promise((resolve) => child.once('exit', resolve))
        child.kill('SIGKILL')
        await gone
      }
    })
  })

  it('sees a mount in a foreign mount namespace', async () => {
    await expectSeen('mounts', async () => {
      const mountpoint = join(dataFolder, 'mountpoint')
      mkdirSync(mountpoint)
      const child = spawn('unshare', [
        '-m',
        'sh',
        '-c',
        'mount -t tmpfs none "$0"; echo in; read line',
        mountpoint,
      ])
      await new Promise((resolve) => child.stdout.once('data', resolve))
      return async () => {
        const gone = new Promise((resolve) => child.once('exit', resolve))
        child.kill('SIGKILL')
        await gone
        rmdirSync(mountpoint)
      }
    })
  })

  it('sees a cgroup', async () => {
    await expectSeen('cgroups', () => {
      const version1 = existsSync('/sys/fs/cgroup/pids')
      const folder = join('/sys/fs/cgroup', version1 ? 'pids' : '', sandbox)
      mkdirSync(folder)
      return () => rmdirSync(folder)
    })
  })

  it('sees a unix socket', async () => {
    await expectSeen('sockets', async () => {
      const server = createServer().listen(join(dataFolder, 'x.sock'))
      await new Promise((resolve) => server.once('listening', resolve))
      return () => new Promise((resolve) => server.close(resolve))
    })
  })

  it('sees a loop device', async () => {
    await expectSeen('loopDevices', () => {
      const image = join(dataFolder, 'image')
      writeFileSync(image, '')
      truncateSync(image, 1024 ** 2)
      const device = execFileSync('losetup', ['--find', '--show', image], { encoding: 'utf8' }).trim()
      return () => {
        execFileSync('losetup', ['--detach', device])
        rmSync(image)
      }
    })
  })

  it('sees a file in the data folder, in /run and in /tmp', async () => {
    for (const path of [join(dataFolder, 'left'), `/run/${sandbox}.state`, `/tmp/runsc-${sandbox}.sock`])
      await expectSeen('files', () => {
        writeFileSync(path, '')
        return () => rmSync(path)
      })
  })
})
