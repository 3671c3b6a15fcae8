import { statfsSync } from 'node:fs'
import { beforeAll, describe, expect, it } from 'vitest'
import type { Sandbox } from '@atoll/sdk'
import { attackEach } from './battery.ts'
import { allocatedBytes } from './host-disk.ts'

const diskMib = 128
const fill = 'dd if=/dev/zero of=/home/user/fill bs=1M count=400 2>&1'

attackEach('disk', ({ create, stack }) => {
  let sandbox: Sandbox
  beforeAll(async () => {
    sandbox = await create({ limits: { diskMib, memoryMib: 512 } })
  })

  it('shows its own size in df', async () => {
    const result = await sandbox.run("df -m / | awk 'NR == 2 { print $2 }'")
    expect(Number(result.stdout)).toBeGreaterThan(diskMib * 0.8)
    expect(Number(result.stdout)).toBeLessThanOrEqual(diskMib * 1.05)
  })

  it('fills to ENOSPC, names the disk, and stays usable', async () => {
    const result = await sandbox.run(fill, { timeoutMs: 60_000 })
    expect(result.stdout).toContain('No space left on device')
    expect(result.exit.limits).toContain('disk')
    expect((await sandbox.run('echo usable')).stdout).toBe('usable\n')
    expect(allocatedBytes(stack().dataFolder, sandbox.id)).toBeLessThan(diskMib * 1.3 * 1024 * 1024)
    await sandbox.run('rm /home/user/fill')
    const again = await sandbox.run(
      'dd if=/dev/zero of=/home/user/some bs=1M count=20 2>/dev/null && echo freed',
    )
    expect(again.stdout).toBe('freed\n')
    await sandbox.run('rm /home/user/some')
  }, 90_000)

  it('negative twin: a larger disk takes the same bytes', async () => {
    const large = await create({ limits: { diskMib: 600, memoryMib: 512 } })
    const result = await large.run(fill, { timeoutMs: 60_000 })
    expect(result.ok).toBe(true)
    expect(result.exit.limits).not.toContain('disk')
  }, 90_000)

  it('answers an upload to a full disk with disk_full, and the old file is there', async () => {
    await sandbox.files.write('/home/user/kept', 'before')
    const size = 1024 * 1024
    const stream = new ReadableStream<Uint8Array>({
      start: (controller) => void Object.assign(controller, { sent: 0 }),
      pull: (controller) => {
        const state = controller as typeof controller & { sent: number }
        if (state.sent >= diskMib * 2) return controller.close()
        state.sent += 1
        controller.enqueue(new Uint8Array(size))
      },
    })
    await expect(sandbox.files.write('/home/user/kept', stream)).rejects.toMatchObject({ code: 'disk_full' })
    expect(await sandbox.files.readText('/home/user/kept')).toBe('before')
    const left = await sandbox.run("find /home/user -name '*' -size +1M | wc -l")
    expect(left.stdout.trim()).toBe('0')
  }, 90_000)

  describe.each([
    { what: 'empty files', code: 'open(f"{base}/{n}", "w").close()' },
    { what: 'symlinks', code: 'os.symlink("x" * 200, f"{base}/{n}")' },
    { what: 'hard links', code: 'os.link("/tmp/origin", f"{base}/{n}")' },
  ])('30,000 $what', ({ code }) => {
    it('end at a limit or fit; the agent answers and the sandbox is deleted at once', async () => {
      const own = await create({ limits: { diskMib, memoryMib: 256 } })
      const script = `
import os
base = "/tmp/many"; os.makedirs(base); open("/tmp/origin", "w").close()
made = 0
try:
    for n in range(30000): ${code}; made += 1
except OSError as e: print("stopped:", e.strerror)
print(made)`
      const result = await own.run(['python3', '-c', script], { timeoutMs: 60_000 })
      expect(result.exit.timedOut).toBe(false)
      expect(result.exit.oom, 'inodes took the memory of the sandbox').toBe(false)
      expect(Number(result.stdout.trim().split('\n').at(-1))).toBeGreaterThan(1_000)
      expect((await own.run('echo usable')).stdout).toBe('usable\n')
      const started = Date.now()
      await own.delete()
      expect(Date.now() - started).toBeLessThan(5_000)
    }, 90_000)
  })

  it('lists, removes and downloads a very deep tree without falling over', async () => {
    const script = `
import os
depth = 0
os.makedirs("/tmp/deep"); os.chdir("/tmp/deep")
try:
    while depth < 1200: os.mkdir("d"); os.chdir("d"); depth += 1
except OSError as e: print(e.strerror)
print(depth)`
    const made = await sandbox.run(['python3', '-c', script], { timeoutMs: 60_000 })
    expect(Number(made.stdout.trim().split('\n').at(-1))).toBeGreaterThan(500)
    await sandbox.files.list('/tmp/deep', { depth: 5_000, limit: 500 }).catch(aTypedError)
    await sandbox.files
      .download('/tmp/deep')
      .then((stream) => new Response(stream).arrayBuffer())
      .catch(aTypedError)
    await sandbox.files.remove('/tmp/deep', { recursive: true }).catch(aTypedError)
    expect((await sandbox.run('rm -rf /tmp/deep; echo usable')).stdout).toBe('usable\n')
  }, 90_000)

  it('is deleted while it is full, and the host has its bytes back', async () => {
    const full = await create({ limits: { diskMib: 300, memoryMib: 512 } })
    await full.run(fill, { timeoutMs: 60_000 })
    const before = statfsSync(stack().dataFolder)
    await full.delete()
    const after = statfsSync(stack().dataFolder)
    expect((after.bavail - before.bavail) * after.bsize).toBeGreaterThan(200 * 1024 * 1024)
    await expect(full.run(['true'])).rejects.toMatchObject({ code: 'sandbox_ended' })
  }, 90_000)
})

const aTypedError = (error: unknown): void => expect(error).toMatchObject({ name: 'AtollError' })
