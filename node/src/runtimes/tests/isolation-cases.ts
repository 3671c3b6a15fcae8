import { expect } from 'vitest'
import type { Case } from '../conformance.ts'

export const isolationCases: Readonly<Record<string, Case>> = {
  'has no network but loopback': async (bench) => {
    await using box = await bench.boot()
    const { stdout } = await box.run("sed -n 's/^ *\\([^ :]*\\):.*/\\1/p' /proc/net/dev")
    expect(stdout.trim().split('\n')).toEqual(['lo'])
    const connect = [
      'import socket',
      's = socket.socket(); s.settimeout(3)',
      'try: s.connect(("192.0.2.1", 80)); print("connected")',
      'except OSError as e: print(type(e).__name__, e.errno)',
    ].join('\n')
    expect((await box.run(['python3', '-c', connect])).stdout).toMatch(/^OSError (101|113)\n$/)
    const loopback = [
      'import socket',
      's = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen()',
      'c = socket.create_connection(s.getsockname()); print("looped")',
    ].join('\n')
    expect((await box.run(['python3', '-c', loopback])).stdout).toBe('looped\n')
  },
  'sees nothing of another machine': async (bench) => {
    await using one = await bench.boot()
    await using other = await bench.boot()
    await one.run('echo mine > /home/user/mine; echo mine > /tmp/mine')
    expect((await other.run('cat /home/user/mine /tmp/mine')).stdout).toBe('')
    await one.start('here', ['sleep', '7774'])
    const { body } = await other.json('GET', '/v1/processes')
    expect(body.processes.map((process: { id: string }) => process.id)).not.toContain('here')
    expect((await other.run('cat /proc/[0-9]*/cmdline 2>/dev/null | tr "\\0" " "')).stdout).not.toContain(
      '7774',
    )
  },
  'gives its root no right over kernel or host': async (bench) => {
    await using box = await bench.boot()
    for (const command of [
      'mount -t tmpfs none /mnt',
      'mknod /tmp/disk b 8 0 && head -c 1 /tmp/disk',
      'echo 1 > /proc/sys/kernel/core_pattern',
      'insmod /nothing.ko || modprobe loop',
    ]) {
      const { exit } = await box.run(command, { user: 'root' })
      expect([command, exit.code]).not.toEqual([command, 0])
    }
  },
  'does not let a command reach the agent or end it': async (bench) => {
    await using box = await bench.boot()
    await box.run('kill -9 1; kill -TERM 1; kill -STOP 1')
    const memory = await box.run('head -c 1 /proc/1/mem', { user: 'user' })
    expect(memory.exit.code).not.toBe(0)
    expect((await box.run(['true'])).exit.code).toBe(0)
  },
  'does not let root inside end the agent': async (bench) => {
    await using box = await bench.boot()
    await box.run('kill -9 1; kill -TERM 1; kill -QUIT 1', { user: 'root' })
    expect((await box.run(['true'])).exit.code).toBe(0)
  },
  'lets the user become root by sudo, as the image says': async (bench) => {
    await using box = await bench.boot()
    expect((await box.run('id -u; sudo -n id -u')).stdout).toBe('1000\n0\n')
  },
  'shows commands nothing of its own folders on the host': async (bench) => {
    await using box = await bench.boot()
    const { stdout } = await box.run('cat /proc/self/mountinfo /proc/self/cgroup /proc/1/environ', {
      user: 'root',
    })
    expect(stdout).not.toContain(box.spec.directory)
    expect(stdout).not.toContain(box.spec.id)
  },
}
