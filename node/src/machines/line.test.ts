import { randomBytes } from 'node:crypto'
import { makeId } from '@atoll/protocol'
import { expect, it } from 'vitest'
import { machineLimits } from './limits.ts'
import { testNode, testSpec } from './test-node.ts'

it('counts who waits, not how many were in a line that never became empty', async () => {
  await using test = await testNode()
  const { id } = testSpec()
  await test.node.create(testSpec({ id }))
  const rounds = machineLimits.operationsPerSandbox
  const loop = async (): Promise<number> => {
    for (let round = 0; round < rounds; round++) {
      const taken = makeId('snp', randomBytes(20))
      await test.node.snapshot(id, { id: taken, kind: 'disk' }, 'me')
    }
    return rounds
  }
  // Each has always one under way: of 64 operations never more than one waits.
  expect(await Promise.all([loop(), loop()])).toEqual([rounds, rounds])
})
