import { readFileSync } from 'node:fs'

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

interface VitestReport {
  readonly testResults: readonly {
    readonly name: string
    readonly status: string
    readonly message: string
    readonly assertionResults: readonly {
      readonly fullName: string
      readonly status: string
      readonly failureMessages: readonly string[] | null
      readonly meta?: { readonly skipReason?: string }
    }[]
  }[]
}

const maxNoteLength = 300

const ofVitest = (path: string): Tally => {
  const report = read(path)
  if (report === undefined)
    return { ...nothing, failed: 1, notes: [`failed: vitest left no report at ${path}`] }
  const notes: string[] = []
  let [passed, failed, skipped] = [0, 0, 0]
  for (const file of (JSON.parse(report) as VitestReport).testResults) {
    // A file that could not be loaded has no assertions at all: that is a failure, not nothing.
    if (file.status === 'failed' && file.assertionResults.every(({ status }) => status !== 'failed')) {
      failed++
      notes.push(`failed: ${file.name}: ${file.message.slice(0, maxNoteLength)}`)
    }
    for (const { fullName, status, failureMessages, meta } of file.assertionResults) {
      if (status === 'passed') passed++
      else if (status === 'failed') {
        failed++
        notes.push(
          `failed: ${fullName}: ${(failureMessages?.[0] ?? '').split('\n')[0]?.slice(0, maxNoteLength)}`,
        )
      } else {
        skipped++
        notes.push(`skipped: ${fullName}${meta?.skipReason === undefined ? '' : `: ${meta.skipReason}`}`)
      }
    }
  }
  return { passed, failed, skipped, notes }
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
