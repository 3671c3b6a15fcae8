import { writeFileSync } from 'node:fs'
import type { Reporter, SerializedError, TestModule } from 'vitest/node'

/** One test, or something that broke outside of any test. Vitest's own JSON leaves out why a test was skipped. */
export interface Reported {
  readonly name: string
  readonly state: 'passed' | 'failed' | 'skipped'
  /** Why it failed or was skipped. */
  readonly why: string
}

/** Writes what `scripts/tally.ts` sums to the file that ATOLL_TALLY_FILE names. */
class TallyReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    const reported = [...modules.flatMap(ofModule), ...unhandled.map(outside)]
    writeFileSync(process.env['ATOLL_TALLY_FILE'] ?? 'tally.json', JSON.stringify(reported))
  }
}

const ofModule = (module: TestModule): Reported[] => {
  const tests = [...module.children.allTests()].map((test): Reported => {
    const result = test.result()
    const name = `${module.relativeModuleId} > ${test.fullName}`
    if (result.state === 'passed') return { name, state: 'passed', why: '' }
    if (result.state === 'skipped')
      return { name, state: 'skipped', why: result.note ?? 'no reason was given' }
    // `pending` at the end of a run never ran: that is no success.
    return { name, state: 'failed', why: result.errors?.[0]?.message ?? 'it did not end' }
  })
  // A file that could not be loaded, or a hook that failed, has no test that says so.
  const suites = [...module.children.allSuites()].flatMap((suite) => suite.errors())
  const broken = [...module.errors(), ...suites].map(
    ({ message }): Reported => ({ name: module.relativeModuleId, state: 'failed', why: message }),
  )
  return [...tests, ...broken]
}

const outside = ({ message }: SerializedError): Reported => ({
  name: 'outside of a test',
  state: 'failed',
  why: message,
})

// Vitest takes the default export of a reporter's file.
export { TallyReporter as default }
