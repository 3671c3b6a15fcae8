import { limits } from '@atoll/protocol'
import { afterEach, expect, it, vi } from 'vitest'
import { machineLimits } from './limits.ts'
import { testNode, testSpec } from './test-node.ts'

afterEach(() => vi.restoreAllMocks())

it('has time left of a boot when a ready command is given up', () => {
  expect(limits.readyTimeoutMaxMs).toBeLessThan(machineLimits.bootMs)
})

it('gives the ready command of an older template no more than the limit, and says so', async () => {
  await using test = await testNode()
  const asked = 600_000
  const timeout = AbortSignal.timeout.bind(AbortSignal)
  // Both waits are shortened; the error tells which one it was.
  vi.spyOn(AbortSignal, 'timeout').mockImplementation((ms) =>
    timeout(ms === asked || ms === limits.readyTimeoutMaxMs ? 300 : ms),
  )
  const spec = testSpec({ ready: { argv: ['false'], timeoutMs: asked } })
  await expect(test.node.create(spec)).rejects.toMatchObject({
    code: 'exec_failed',
    message: expect.stringContaining(
      `(false) did not succeed within ${limits.readyTimeoutMaxMs} ms;`,
    ) as string,
  })
})
