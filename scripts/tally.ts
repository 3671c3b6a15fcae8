import { readFileSync } from 'node:fs'
import type { Reported } from './vitest-reporter.ts'

/**
 * Sums what the runners of ./test said, prints why something was skipped or failed, and ends with exactly one line
 * `N passed, N failed, N skipped`. Arguments: `vitest:<report.json>`, `cargo:<output>`, `step:<name>:<exit code>`.
 */
interface Tally {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
  /** Reasons and names, for people. */
  readonly notes: readonly string[]
}

const nothing: Tally = { passed: 0, failed: 0, skipped: 0, notes: [] }

const maxNoteLength = 300

const ofVitest = (path: string): Tally => {
  const text = read(path)
  if (text === undefined)
    return { ...nothing, failed: 1, notes: [`failed: vitest left no report at ${path}`] }
  const reported = JSON.parse(text) as readonly Reported[]
  const count = (wanted: Reported['state']): number => reported.filter(({ state }) => state === wanted).length
  const notes = reported
    .filter(({ state }) => state !== 'passed')
    .map(({ name, state, why }) => `${state}: ${name}: ${(why.split('\n')[0] ?? '').slice(0, maxNoteLength)}`)
  return { passed: count('passed'), failed: count('failed'), skipped: count('skipped'), notes }
}

/** Lines like `test result: ok. 12 passed; 0 failed; 1 ignored; …`, one for each test program. */
const ofCargo = (path: string): Tally => {
  const text = read(path) ?? ''
  const results = [...text.matchAll(/^test result: .*?(\d+) passed; (\d+) failed; (\d+) ignored/gm)]
  const ignored = [...text.matchAll(/^test (.+?) \.\.\. ignored(?:, (.*))?$/gm)]
  const broken = [...text.matchAll(/^test (.+?) \.\.\. FAILED$/gm)]
  const sum = (at: number): number => results.reduce((total, match) => total + Number(match[at]), 0)
  const notes = [
    ...ignored.map(([, name, why]) => `skipped: ${path}: ${name}${why === undefined ? '' : `: ${why}`}`),
    ...broken.map(([, name]) => `failed: ${path}: ${name}`),
  ]
  if (results.length === 0) return { ...nothing, failed: 1, notes: [`failed: no result of cargo in ${path}`] }
  return { passed: sum(1), failed: sum(2), skipped: sum(3), notes }
}

/** A check that is a whole: format, types, lint. */
const ofStep = (name: string, code: string): Tally =>
  code === '0'
    ? { ...nothing, passed: 1 }
    : { ...nothing, failed: 1, notes: [`failed: ${name} ended with ${code}`] }

const read = (path: string): string | undefined => {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    // Not written: the runner died before it could. The caller counts that.
    return undefined
  }
}

const tallyOf = (argument: string): Tally => {
  const [kind, subject = '', code = ''] = argument.split(':')
  if (kind === 'vitest') return ofVitest(subject)
  if (kind === 'cargo') return ofCargo(subject)
  if (kind === 'step') return ofStep(subject, code)
  throw new TypeError(`cannot tally ${argument}: give vitest:, cargo: or step:`)
}

const tallies = process.argv.slice(2).map(tallyOf)
const total = (of: (tally: Tally) => number): number => tallies.reduce((sum, tally) => sum + of(tally), 0)
const [passed, failed, skipped] = [total((t) => t.passed), total((t) => t.failed), total((t) => t.skipped)]
for (const note of tallies.flatMap(({ notes }) => notes)) process.stdout.write(`${note}\n`)
process.stdout.write(`${passed} passed, ${failed} failed, ${skipped} skipped\n`)
process.exitCode = failed === 0 && passed > 0 ? 0 : 1
