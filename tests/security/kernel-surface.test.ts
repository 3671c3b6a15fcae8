import { beforeAll, describe, expect, it } from 'vitest'
import { type Attack, expectedOf, isExpected } from './attack.ts'
import { attackEach } from './battery.ts'
import { kernelCalls } from './kernel-calls.ts'
import { kernelFiles } from './kernel-files.ts'
import { kernelInterfaces } from './kernel-interfaces.ts'
import { type Outcomes, runInside, runTwins } from './run-attacks.ts'

const attacks: readonly Attack[] = [...kernelCalls, ...kernelInterfaces, ...kernelFiles]

attackEach('kernel surface', ({ runtime, create }) => {
  describe.each([
    { who: 'the user', asRoot: false },
    { who: 'root', asRoot: true },
  ])('as $who', ({ asRoot }) => {
    let outcomes: Outcomes
    beforeAll(async () => {
      outcomes = await runInside(await create(), attacks, asRoot)
    }, 180_000)
    it.each(attacks)('$name', (attack) => {
      const outcome = outcomes.get(attack.name) ?? 'not run'
      const expected = expectedOf(attack, runtime, asRoot)
      expect(
        isExpected(outcome, expected),
        `came to ${outcome}, not ${String(expected)}: ${attack.why}`,
      ).toBe(true)
    })
  })
})

describe('the same attacks without a sandbox', () => {
  const twins = attacks.filter((attack) => attack.twin !== undefined)
  let outcomes: Outcomes
  beforeAll(async () => {
    outcomes = await runTwins(twins)
  }, 180_000)
  it.each(twins)('$name', (attack) => {
    const outcome = outcomes.get(attack.name) ?? 'not run'
    const refusal = isExpected(outcome, attack.container)
    expect(refusal, `without a sandbox it came to ${outcome} as well: the case shows nothing`).toBe(false)
    expect(outcome, 'the attack itself is broken').not.toMatch(/Error$|^hung$|^not run$/)
  })
  it('has a written reason where there is no twin', () => {
    const silent = attacks.filter((attack) => attack.twin === undefined && attack.noTwin === undefined)
    expect(silent.map(({ name }) => name)).toEqual([])
  })
})
