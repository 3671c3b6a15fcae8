import { beforeAll, expect, it } from 'vitest'
import type { Sandbox } from '@atoll/sdk'
import { attackEach, plantedSecret } from './battery.ts'

/** A library that says in /tmp which uid it was loaded by. */
const library = `
#include <stdio.h>
#include <unistd.h>
__attribute__((constructor)) static void loaded(void) {
  char path[64];
  snprintf(path, sizeof path, "/tmp/loaded-by-%d", (int)geteuid());
  FILE *f = fopen(path, "w"); if (f) fclose(f);
}`

attackEach('environment', ({ create, runtime }) => {
  let sandbox: Sandbox
  beforeAll(async () => {
    const env = {
      LD_PRELOAD: '/tmp/evil.so',
      LD_AUDIT: '/tmp/evil.so',
      BASH_ENV: '/tmp/evil.sh',
      ENV: '/tmp/evil.sh',
      NODE_OPTIONS: '--require /tmp/evil.js',
      GLIBC_TUNABLES: 'glibc.malloc.check=3',
      PYTHONSTARTUP: '/tmp/evil.py',
      RUST_LOG: 'trace',
      ATOLL_CGROUP2_DIR: '/tmp',
      ATOLL_MEMORY_CGROUP_DIR: '/tmp',
    }
    sandbox = await create({ env })
    const clean = { env: { LD_PRELOAD: '', LD_AUDIT: '' } }
    await sandbox.files.write('/tmp/evil.c', library, { user: 'user' })
    const made = await sandbox.run(
      'gcc -shared -fPIC -o /tmp/evil.so /tmp/evil.c && chmod 755 /tmp/evil.so',
      clean,
    )
    expect(made.stderr.replaceAll(/^ERROR: ld.so.*$\n?/gm, '')).toBe('')
  }, 60_000)

  it('reaches the processes of its user (so the cases below attack something)', async () => {
    await sandbox.run(['true'])
    expect((await sandbox.run(['ls', '/tmp/loaded-by-1000'])).ok).toBe(true)
  })

  it("never reaches the agent's own work as root", async () => {
    await sandbox.run('rm -f /tmp/loaded-by-*', { env: { LD_PRELOAD: '', LD_AUDIT: '' } })
    await sandbox.files.write('/root/x', 'x', { user: 'root' })
    await sandbox.files.list('/root', { user: 'root' })
    await sandbox.files.remove('/root/x', { user: 'root' })
    await sandbox.metrics()
    const seen = await sandbox.run('ls /tmp | grep -c loaded-by-0 || true', {
      env: { LD_PRELOAD: '', LD_AUDIT: '' },
    })
    expect(seen.stdout.trim()).toBe('0')
  })

  it("is not in the agent's own environment, which holds nothing but what we put there", async () => {
    const read = await sandbox.run('tr "\\0" "\\n" < /proc/1/environ | sort', { user: 'root' })
    if (runtime === 'container' && read.exit.code !== 0) return
    const names = read.stdout
      .trim()
      .split('\n')
      .filter(Boolean)
      .map((line) => line.split('=')[0] ?? '')
    const ours = ['HOME', 'LANG', 'PATH', 'ATOLL_CGROUP2_DIR', 'ATOLL_MEMORY_CGROUP_DIR']
    expect(names.filter((name) => !ours.includes(name))).toEqual([])
    expect(read.stdout).not.toContain('evil')
    expect(read.stdout).not.toContain('=/tmp')
  })

  it('carries values with newlines, quotes and bytes of escape whole', async () => {
    const value = 'a\nb\u001b[31m"\'$(id)`id`\t ä'
    const result = await sandbox.run(['python3', '-c', 'import os; print(ascii(os.environ["ODD"]))'], {
      env: { ODD: value, LD_PRELOAD: '', LD_AUDIT: '' },
    })
    expect(result.stdout.trim()).toBe(`'a\\nb\\x1b[31m"\\'$(id)\`id\`\\t \\xe4'`)
  })

  it('does not turn argv into shell words', async () => {
    const result = await sandbox.run(['echo', '$(id)', '; id', '`id`', '--', '-e', '\\n'])
    expect(result.stdout).toBe('$(id) ; id `id` -- -e \\n\n')
  })

  it("holds nothing of the daemon's", async () => {
    const search = `grep -rlsa --exclude-dir=probe -e '${plantedSecret.value.slice(0, 20)}' /proc/[0-9]*/environ /proc/[0-9]*/cmdline /etc /run /var/lib /var/log /home /root /dev/shm /.atoll/agent`
    const found = await sandbox.run(`${search} | grep -v "/proc/self\\|/proc/thread-self" || true`, {
      user: 'root',
      timeoutMs: 60_000,
    })
    const own = found.stdout.split('\n').filter((line) => line !== '' && !/^\/proc\/\d+\/cmdline$/.test(line))
    expect(own).toEqual([])
    expect((await sandbox.run('env', { user: 'root' })).stdout).not.toContain(plantedSecret.name)
  }, 90_000)
})
