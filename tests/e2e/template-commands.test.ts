import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Sandbox, Step } from '@atoll/sdk'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Drill, small, startDrill } from './drill.ts'
import { makeSmallRoot, tarOf } from './small-image.ts'

const template = (name: string, steps: Step[]) => ({ name, steps })
const server = 'echo "started for $FOR" > /tmp/started; sleep 0.3; : > /tmp/ready; exec sleep 1000'

describe.each(['gvisor', 'container'] as const)(
  'the start and ready commands of a template on %s',
  (runtime) => {
    let drill: Drill
    const folder = mkdtempSync('/tmp/atoll-commands-')
    beforeAll(async () => {
      drill = await startDrill()
      makeSmallRoot(join(folder, 'root'))
      const { sha256: upload } = await drill.stack.atoll.templates.upload(tarOf(join(folder, 'root')))
      const wanted = [
        template('served', [
          { type: 'start', argv: ['sh', '-c', server] },
          {
            type: 'ready',
            argv: ['sh', '-c', '[ -e /tmp/ready ] && [ -s /tmp/started ]'],
            timeoutMs: 10_000,
          },
        ]),
        template('never', [{ type: 'ready', argv: ['sh', '-c', 'exit 1'], timeoutMs: 500 }]),
        template('broken', [
          { type: 'start', argv: ['sh', '-c', 'exit 7'] },
          { type: 'ready', argv: ['sh', '-c', 'exit 1'], timeoutMs: 30_000 },
        ]),
        template('absent', [{ type: 'start', argv: ['no-such-program'] }]),
      ]
      for (const { name, steps } of wanted) {
        const source = { type: 'tar', upload } as const
        await (await drill.stack.atoll.templates.build({ name, source, steps })).wait()
      }
    })
    afterAll(async () => {
      await drill?.[Symbol.asyncDispose]()
      rmSync(folder, { recursive: true, force: true })
    })

    const create = (name: string): Promise<Sandbox> =>
      drill.stack.atoll.sandboxes.create({ runtime, template: name, limits: small, env: { FOR: 'you' } })
    const said = async (sandbox: Sandbox): Promise<string> =>
      (await sandbox.run('cat /tmp/started; : > /tmp/started; [ -e /tmp/ready ] && echo ready')).stdout

    it('run before create answers, with the env of the sandbox, and go on', async () => {
      await using sandbox = await create('served')
      expect(await said(sandbox)).toBe('started for you\nready\n')
      const processes = await sandbox.processes()
      expect(processes.map(({ id, state }) => ({ id, state }))).toContainEqual({
        id: 'start',
        state: 'running',
      })
      expect(processes.some(({ id }) => id.startsWith('ready'))).toBe(false)
      const { holders } = await sandbox.lifecycle()
      expect(holders).toEqual([])
    })

    it('run again when a stopped sandbox starts, and not when a paused one resumes', async () => {
      await using sandbox = await create('served')
      await said(sandbox)
      await sandbox.pause({ depth: runtime === 'gvisor' ? 'stored' : 'frozen' })
      await sandbox.resume()
      expect(await said(sandbox)).toBe('ready\n')
      await sandbox.stop()
      await sandbox.resume()
      expect(await said(sandbox)).toBe('started for you\nready\n')
    })

    it.each([
      ['never', /ready command \(sh\) did not succeed within 500 ms/],
      ['broken', /start command \(sh\) ended with code 7/],
      ['absent', /no-such-program/],
    ])('a template whose command is %s fails the create and says why', async (name, why) => {
      await expect(create(name)).rejects.toThrow(why)
      const left = []
      for await (const { state } of drill.stack.atoll.sandboxes.list())
        if (state !== 'ended') left.push(state)
      expect(left).toEqual([])
    })
  },
)
