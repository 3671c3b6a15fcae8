import { expect, it } from 'vitest'
import { simulatedDriver } from '../runtimes/simulated/driver.ts'
import { simulatedWorld } from '../runtimes/simulated/world.ts'
import { testNode, testSpec } from './test-node.ts'

it('says of one that is being deleted that it is, and with which cause', async () => {
  const torn = Promise.withResolvers<void>()
  const begun = Promise.withResolvers<void>()
  const driver = simulatedDriver({ world: simulatedWorld() })
  const slow: typeof driver = {
    ...driver,
    start: async (...given) => {
      const machine = await driver.start(...given)
      return {
        ...machine,
        destroy: async (signal) => {
          begun.resolve()
          await torn.promise
          return await machine.destroy(signal)
        },
      }
    },
  }
  await using test = await testNode({ wrap: () => slow })
  const spec = testSpec()
  await test.node.create(spec)
  const deleted = test.node.delete(spec.id, 'deadline', 'its lease')
  await begun.promise
  const during = await test.node.stop(spec.id, 'me').catch((error: unknown) => error)
  torn.resolve()
  await deleted
  expect(during).toMatchObject({
    code: 'sandbox_ended',
    message: expect.stringMatching(/^cannot stop \S+: it is being deleted \(deadline\): /) as string,
    sandboxState: 'deleting',
    details: { cause: 'deadline', by: 'its lease', endedAtMs: null },
  })
  await expect(test.node.stop(spec.id, 'me')).rejects.toMatchObject({
    code: 'sandbox_ended',
    message: expect.stringMatching(/: it ended \(deadline\): /) as string,
    sandboxState: 'ended',
    details: { cause: 'deadline', by: 'its lease', endedAtMs: expect.any(Number) as number },
  })
})
