import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, describe, expect, it } from 'vitest'
import { askAdopt, askContinue, askHealth, askQuiesce } from '../../node/src/guest/calls.ts'
import { testHost } from '../../node/src/host/test-host.ts'
import type { MachineImage } from '../../node/src/runtimes/driver.ts'
import { gvisorDriver } from '../../node/src/runtimes/gvisor/driver.ts'
import { type Booted, booted, eventually, makeBench } from '../../node/src/runtimes/tests/bench.ts'
import { copyOf, saveMemory, soon } from '../../node/src/runtimes/tests/snapshots.ts'

const { launcherPath, agentPath, imagePath, skip } = testHost()
if (skip !== undefined) console.warn(`copies in gVisor are skipped: ${skip}`)
const whole = async (body: AsyncIterable<Uint8Array>): Promise<Buffer> => {
  const chunks: Uint8Array[] = []
  for await (const chunk of body) chunks.push(chunk)
  return Buffer.concat(chunks)
}
const mib = 1024 ** 2
const answerMs = 20_000

/** What only a real restore can show of the agent. */
describe.skipIf(skip !== undefined)('copies in gVisor', () => {
  const options = {
    launcherPath,
    agentPath,
    stateFolder: '/run/atoll-test/copies',
    cgroupParent: 'atoll-test',
  }
  const bench = makeBench(() => gvisorDriver(options), imagePath)
  afterAll(() => bench[Symbol.asyncDispose]())

  const restored = async (image: MachineImage): Promise<Booted> => {
    const spec = await bench.makeSpec({ limits: { diskBytes: image.diskBytes } })
    return await booted(await bench.driver.restore(image, spec, soon()), spec, false)
  }
  const adopt = (box: Booted, more: { hostname?: string; memoryBytes?: number } = {}) => {
    const { hostname = 'copy', ...limits } = more
    return askAdopt(
      box.guest,
      {
        sandboxId: box.spec.id,
        generation: 2,
        reason: 'fork',
        hostname,
        timeUnixMs: Date.now(),
        entropy: randomBytes(64).toString('base64'),
        env: {},
        limits: { ...box.spec.limits, cpuCount: 1, ...limits },
        defaultUser: 'root',
        workdir: '/',
      },
      answerMs,
    )
  }

  it('run nothing and change nothing before they are adopted, whatever the switch says', async () => {
    await using box = await bench.boot()
    await box.start('counter', 'while :; do echo >> /tmp/count; done')
    await eventually('counting', async () => (await box.run('test -s /tmp/count')).exit.code === 0)
    await askQuiesce(box.guest, 5_000, answerMs)
    const image = await box.machine.checkpoint(join(await bench.folder(), 'image'), 'memory', soon())
    await askContinue(box.guest, answerMs)

    await using copy = await restored(image)
    expect(await askHealth(copy.guest, answerMs)).toMatchObject({ adopted: false, quiesced: true })
    for (const [method, path] of [
      ['POST', '/v1/continue'],
      ['POST', '/v1/quiesce'],
      ['PUT', '/v1/files?path=/tmp/x'],
      ['PUT', '/v1/processes/x'],
      ['GET', '/v1/layer'],
    ] as const)
      expect((await copy.json(method, path, { forMs: 1_000 })).body.code).toBe('not_adopted')
    // Past the time after which the parent's agent would have continued by itself.
    await delay(7_000)
    expect(await askHealth(copy.guest, answerMs)).toMatchObject({ adopted: false, quiesced: true })

    await adopt(copy)
    const read = async () => {
      const { body } = await copy.guest.request({ method: 'GET', path: '/v1/files/stat?path=/tmp/count' })
      return JSON.parse((await whole(body)).toString()).size
    }
    const before = await read()
    await delay(300)
    expect(await read()).toBe(before)
    // The time begins anew with the adoption, and is not used up by that of the parent.
    expect(await askContinue(copy.guest, answerMs)).toBeGreaterThanOrEqual(1)
    await eventually('counting on', async () => (await read()) !== before)
  })

  it('give a command the time that it had left', async () => {
    await using box = await bench.boot()
    await box.start('timed', ['sleep', '600'], { timeoutMs: 3_000 })
    const image = await saveMemory(bench, box)
    await delay(4_500)
    await using copy = await copyOf(bench, image)
    expect((await copy.json('GET', '/v1/processes/timed')).body.state).toBe('running')
    const { exit } = (await copy.json('GET', '/v1/processes/timed/wait')).body
    expect(exit).toMatchObject({ timedOut: true })
    expect(exit?.durationMs).toBeGreaterThan(2_500)
    expect(exit?.durationMs).toBeLessThan(5_500)
  })

  it('show the memory that they were given', async () => {
    await using box = await bench.boot({ limits: { memoryBytes: 300 * mib } })
    const image = await saveMemory(bench, box)
    await using copy = await restored(image)
    await adopt(copy, { memoryBytes: 200 * mib })
    await askContinue(copy.guest, answerMs)
    const look = 'free -m | awk "/Mem/ {print \\$2}"; node -p "os.totalmem() / 2 ** 20"'
    expect((await copy.run(look)).stdout).toBe('200\n200\n')
    const hold =
      "python3 -c \"x = b'x' * (60 << 20); import time; time.sleep(1.5); import os; os.system('free -m')\""
    const used = Number(/Mem: +\d+ +(\d+)/.exec((await copy.run(hold)).stdout)?.[1])
    expect(used).toBeGreaterThan(55)
    expect(used).toBeLessThan(150)
    await adopt(copy, { memoryBytes: 256 * mib })
    expect((await copy.run('free -m | awk "/Mem/ {print \\$2}"')).stdout).toBe('256\n')
  })

  it('are adopted on a full disk, too', async () => {
    await using box = await bench.boot()
    const filled = await box.run('dd if=/dev/zero of=/home/user/fill bs=1M; echo x > /home/user/more')
    expect(filled.stderr).toContain('No space left')
    const image = await saveMemory(bench, box)
    await using copy = await restored(image)
    await adopt(copy, { hostname: 'a-name-that-is-longer-than-the-old' })
    await askContinue(copy.guest, answerMs)
    const said = await copy.run('cat /etc/hostname /run/atoll/generation; wc -c < /etc/machine-id')
    expect(said.stdout).toBe('a-name-that-is-longer-than-the-old\n2\n33\n')
  })

  it('take the disk alone as a layer, as it was', async () => {
    await using box = await bench.boot()
    const change = `set -e; mkdir -p /root/d/e; echo hello > /root/d/e/f; chmod 4755 /root/d/e/f; chown -R user /root/d
      ln /root/d/e/f /root/d/hard; ln -s /x /root/d/soft; mkfifo /root/fifo; echo mine > /home/user/.wh.x
      rm /usr/bin/less; rm -rf /usr/share/zoneinfo; mkdir /usr/share/zoneinfo; echo z > /usr/share/zoneinfo/z
      rm -rf /home/user/.cache; truncate -s 30M /root/sparse; echo end >> /root/sparse`
    expect((await box.run(change, { user: 'root' })).exit.code).toBe(0)
    const list = `cd /; find root home usr/share/zoneinfo usr/bin etc \\( -type d -printf '%p %m %U %T@\\n' \\) -o -printf \
      '%p %y %m %U %G %s %T@ %n %l\\n' | grep -v '^etc .*\\|etc/machine-id\\|etc/hostname\\|etc/hosts' | sort; \
      cat /root/d/hard /home/user/.wh.x; md5sum < /root/sparse`
    const before = (await box.run(list, { user: 'root' })).stdout
    const layer = await box.guest.request({ method: 'GET', path: '/v1/layer' })
    const bytes = await whole(layer.body)
    expect(layer.status).toBe(200)
    expect(bytes.includes(Buffer.from(box.spec.id))).toBe(false)

    await using other = await bench.boot({ adopt: false })
    const headers = { 'content-length': String(bytes.length) }
    const laid = await other.guest.request({ method: 'PUT', path: '/v1/layer', headers, body: bytes })
    expect(laid.status).toBe(200)
    await whole(laid.body)
    await adopt(other)
    expect((await other.run(list, { user: 'root' })).stdout).toBe(before)
    expect((await other.json('PUT', '/v1/layer')).body.code).toBe('state_conflict')
  })
})
