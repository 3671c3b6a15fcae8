import { expect, it } from 'vitest'
import { randomFrom } from '../drill.ts'
import { gvisorSubject, simulatedSubject } from './subject.ts'
import { randomWalk } from './walk.ts'

const full = process.env['ATOLL_DRILL_FULL'] === '1'
const seed = Number(process.env['ATOLL_DRILL_SEED'] ?? Math.floor(Math.random() * 2 ** 32))

it.each([
  { runtime: 'simulated', open: simulatedSubject, cycles: 100 },
  { runtime: 'gvisor', open: gvisorSubject, cycles: full ? 100 : 30 },
])(
  'no write is lost and none comes back, on $runtime',
  async ({ runtime, open, cycles }) => {
    console.log(
      `walk on ${runtime}: seed ${seed} (ATOLL_DRILL_SEED repeats it), ${cycles} cycles${full ? '' : '; ATOLL_DRILL_FULL=1 walks 100'}`,
    )
    await using subject = await open()
    const counts = await randomWalk(subject, randomFrom(seed), cycles)
    console.log(`walk on ${runtime}: ${JSON.stringify(counts)}`)
    expect(Object.values(counts).reduce((sum, count) => sum + count, 0)).toBe(cycles)
  },
  900_000,
)
