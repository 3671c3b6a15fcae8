import { afterAll, describe, it } from 'vitest'
import type { RuntimeDriver } from './driver.ts'
import { type Bench, makeBench } from './tests/bench.ts'
import { fileCases } from './tests/file-cases.ts'
import { isolationCases } from './tests/isolation-cases.ts'
import { lifecycleCases } from './tests/lifecycle-cases.ts'
import { limitCases } from './tests/limit-cases.ts'
import { memoryCases } from './tests/memory-cases.ts'
import { processCases } from './tests/process-cases.ts'
import { standstillCases } from './tests/standstill-cases.ts'

/** A promise that every driver keeps. */
export type Case = (bench: Bench) => Promise<void>

/** All cases by name: the names are what `skip` refers to. */
export const cases: Readonly<Record<string, Readonly<Record<string, Case>>>> = {
  lifecycle: lifecycleCases,
  processes: processCases,
  files: fileCases,
  limits: limitCases,
  standstill: standstillCases,
  memory: memoryCases,
  isolation: isolationCases,
}

export interface ConformanceOptions {
  /** The image that machines boot: the base image; ignored by `simulated`. */
  readonly imagePath: string
  /** A case is skipped only with a written reason; an unknown name is an error. */
  readonly skip?: Readonly<Record<string, string>>
  /** Why nothing of it can run here; skips everything, loudly. */
  readonly skipAll?: string | undefined
}

/** The one suite that every driver passes. `makeDriver` gives a fresh instance on the same host each time. */
export const conformance = (
  name: string,
  makeDriver: () => RuntimeDriver,
  options: ConformanceOptions,
): void => {
  const { skip = {}, skipAll } = options
  const known = new Set(Object.values(cases).flatMap((group) => Object.keys(group)))
  const unknown = Object.keys(skip).filter((caseName) => !known.has(caseName))
  if (unknown.length > 0) throw new Error(`${name} skips unknown cases: ${unknown.join(', ')}`)
  describe(`${name} conforms to the runtime port`, () => {
    const bench = makeBench(makeDriver, options.imagePath)
    afterAll(async () => {
      await bench[Symbol.asyncDispose]()
      tellSkips(name, skipAll === undefined ? skip : { everything: skipAll }, known.size)
    })
    for (const [group, members] of Object.entries(cases))
      describe(group, () => {
        for (const [caseName, run] of Object.entries(members)) {
          const reason = skipAll ?? skip[caseName]
          if (reason === undefined) it(caseName, () => run(bench))
          else it.skip(`${caseName} (skipped: ${reason})`, () => undefined)
        }
      })
  })
}

const tellSkips = (name: string, skips: Readonly<Record<string, string>>, count: number): void => {
  const entries = Object.entries(skips)
  if (entries.length === 0) return
  const lines = entries.map(([caseName, reason]) => `  ${caseName}: ${reason}`)
  process.stdout.write(`${name}: ${entries.length} of ${count} cases skipped\n${lines.join('\n')}\n`)
}
