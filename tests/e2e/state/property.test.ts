import { expect, it } from 'vitest'
import { randomFrom } from '../drill.ts'
import { gvisorSubject, simulatedSubject, type Subject } from './subject.ts'
import { randomWalk } from './walk.ts'

const full = process.env['ATOLL_DRILL_FULL'] === '1'
const seed = Number(process.env['ATOLL_DRILL_SEED'] ?? Math.floor(Math.random() * 2 ** 32))

it.each([
  { runtime: 'simulated', open: simulatedSubject, cycles: 100 },
  { runtime: 'gvisor', open: gvisorSubject, cycles: full ? 100 : 50 },
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

/** Twins of the subject that do what must never happen: the walk has to tell. */
const liars: Record<string, (subject: Subject) => Subject> = {
  'loses a write': (subject) => {
    let writes = 0
    return {
      ...subject,
      write: async (...given) => {
        if (++writes !== 8) await subject.write(...given)
      },
      [Symbol.asyncDispose]: () => subject[Symbol.asyncDispose](),
    }
  },
  'keeps the memory of what was stopped': (subject) => ({
    ...subject,
    stop: (id) => subject.pause(id, 'stored'),
    start: (id) => subject.resume(id),
    [Symbol.asyncDispose]: () => subject[Symbol.asyncDispose](),
  }),
  'boots what was stored': (subject) => ({
    ...subject,
    pause: async (id, depth) => {
      await subject.pause(id, depth)
      if (depth === 'frozen') return
      await subject.resume(id)
      await subject.stop(id)
      await subject.start(id)
    },
    [Symbol.asyncDispose]: () => subject[Symbol.asyncDispose](),
  }),
}

it.each(Object.keys(liars))('a subject that %s is found out', async (name) => {
  await using subject = await simulatedSubject()
  const liar = liars[name]?.(subject) ?? subject
  await expect(randomWalk(liar, randomFrom(7), 100)).rejects.toMatchObject({
    cause: { name: 'AssertionError' },
  })
})
