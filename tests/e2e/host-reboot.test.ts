import { randomUUID } from 'node:crypto'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { call, createSandbox, getSandbox, run, until } from './call.ts'
import { type Drill, small, startDrill } from './drill.ts'
import { hostProcess } from './host-processes.ts'
import { removeCgroups } from './host-traces.ts'
import { killAll, machineFolder, machineParts } from './machine-parts.ts'
import { machineOf } from './state/machine-of.ts'

/**
 * A reboot as far as it can be had without one: every process of ours dies at one instant, cgroups and what is
 * in /run are gone, files stay, and the daemon that starts then sees another boot id (a file bound over the
 * kernel's in a mount namespace of its own). Not simulated: pids that are used again by others.
 */
describe('a reboot of the host', () => {
  let drill: Drill
  const folder = mkdtempSync('/tmp/atoll-boot-')
  beforeAll(async () => {
    drill = await startDrill()
  })
  afterEach(() => drill.clean())
  afterAll(async () => {
    await drill?.[Symbol.asyncDispose]()
    rmSync(folder, { recursive: true, force: true })
  })

  it.each(['gvisor', 'container'])(
    'ends what ran on %s as host_lost, and frees what it left',
    async (runtime) => {
      const { stack } = drill
      const sandbox = await createSandbox(stack, { runtime, limits: small })
      await run(stack, sandbox.id, ['true'])
      const parts = await machineParts(stack, sandbox.id)
      await stack.crash()
      const all = [parts.shim, parts.spare, parts.runtime]
      for (const { pid } of all) process.kill(pid, 'SIGSTOP')
      killAll(all)
      for (const { pid } of all)
        await until(`${pid} is gone`, 5_000, () => (hostProcess(pid) === undefined ? true : undefined))
      await removeCgroups(machineOf(stack, sandbox.id))
      // The shim had no time to write an end, as in a power cut.
      expect(existsSync(join(machineFolder(stack, sandbox.id), 'exit.json'))).toBe(false)

      const bootId = join(folder, `boot-id-${runtime}`)
      writeFileSync(bootId, `${randomUUID()}\n`)
      await stack.restart({
        through: [
          'unshare',
          '--mount',
          'sh',
          '-c',
          'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"',
          bootId,
        ],
      })
      const { state, ended } = await getSandbox(stack, sandbox.id)
      expect({ state, cause: ended?.cause }).toEqual({ state: 'ended', cause: 'host_lost' })
      expect(ended?.message).not.toBe('')
      const refused = await call(stack, 'POST', `/v1/sandboxes/${sandbox.id}/processes?wait=1`, {
        body: { argv: ['true'] },
      })
      expect(refused).toMatchObject({ status: 410, body: { code: 'sandbox_ended' } })
      // A host whose /proc is covered can start no container: the next one begins on the plain host again.
      await stack.stop()
      await stack.restart()
      expect((await getSandbox(stack, sandbox.id)).ended).toEqual(ended)
      expect(await drill.difference()).toEqual({})
    },
  )
})
