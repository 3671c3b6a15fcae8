import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { Sandbox } from '@atoll/sdk'
import { attackEach } from './battery.ts'

/** Ways out of a process's tree; each leaves a `sleep 4711` behind and ends at once (invariant 10). */
const escapes = [
  { name: 'setsid', code: 'os.setsid()' },
  { name: 'fork twice and setsid', code: 'os.setsid()\n    if os.fork(): os._exit(0)' },
  { name: 'closed descriptors', code: 'os.closerange(0, 256)' },
  {
    name: 'another cgroup, by every cgroup file in sight',
    code: `os.setsid()
    import glob
    for path in glob.glob("/.atoll/cgroup/**/cgroup.procs", recursive=True) + glob.glob("/sys/fs/cgroup/**/cgroup.procs", recursive=True) + glob.glob("/sys/fs/cgroup/**/tasks", recursive=True):
        if "/p" in path[len("/.atoll/cgroup"):]: continue
        try: open(path, "w").write(str(os.getpid()))
        except OSError: pass`,
  },
  { name: 'a changed name and parent', code: 'ctypes.CDLL(None).prctl(15, b"atoll-agent")\n    os.setsid()' },
  {
    name: 'a new user namespace and pid namespace',
    code: 'ctypes.CDLL(None).unshare(0x30000000)\n    if os.fork(): os._exit(0)',
  },
] as const

const program = (code: string): string => `
import ctypes, os, time
if os.fork() == 0:
    ${code}
    os.execvp("sleep", ["sleep", "4711"])
time.sleep(0.2)
`

attackEach('leaving the tree', ({ create }) => {
  let sandbox: Sandbox
  beforeAll(async () => {
    sandbox = await create()
  })
  // Each case is judged alone.
  afterEach(async () => void (await sandbox.run('pkill -9 -f "^sleep 4711"', { user: 'root' })))
  const left = async (): Promise<string> =>
    (
      await sandbox.run('grep -alz "^4711" /proc/[0-9]*/cmdline 2>/dev/null | wc -l', { user: 'root' })
    ).stdout.trim()

  describe.each(['user', 'root'])('as %s', (user) => {
    it.each(escapes)('$name: nothing outlives the end of its process', async ({ code }) => {
      const result = await sandbox.run(['python3', '-c', program(code)], { user, timeoutMs: 15_000 })
      expect(result.stderr).toBe('')
      expect(await left()).toBe('0')
    })
  })

  it.each(escapes)('$name as root: nothing outlives a kill of its tree', async ({ code }) => {
    const endless = `${program(code)}\ntime.sleep(60)`
    const process = await sandbox.start(['python3', '-c', endless], { user: 'root' })
    await new Promise((resolve) => setTimeout(resolve, 400))
    await process.remove()
    expect(await left()).toBe('0')
  })

  it('negative twin: with survivors kept the same program leaves one', async () => {
    await sandbox.run(['python3', '-c', program(escapes[0].code)], { survivors: 'keep' })
    expect(await left()).toBe('1')
  })
})
