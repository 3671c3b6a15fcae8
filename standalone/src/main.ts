import { AtollError } from '@atoll/protocol'
import { type Options, parseOptions } from './options.ts'

/** `main.ts up|doctor`: what the CLI starts. Exit codes: 0, 1 for `doctor` that found something missing, 125. */
const main = async ([verb, ...args]: readonly string[]): Promise<number> => {
  if (verb !== 'up' && verb !== 'doctor')
    throw new AtollError('invalid_request', `cannot do ${JSON.stringify(verb ?? '')}: give up or doctor`)
  const options: Options = parseOptions(args)
  // Each verb loads what it needs: doctor must be able to speak where the daemon could not even load.
  if (verb === 'doctor') return (await import('./doctor/doctor.ts')).doctor(options)
  await (await import('./up.ts')).up(options, process.env)
  return 0
}

const failureCode = 125

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  const remedy = error instanceof AtollError && error.remedy !== undefined ? `\n  ${error.remedy}` : ''
  const text =
    error instanceof AtollError ? error.message : error instanceof Error ? error.stack : String(error)
  process.stderr.write(`atoll: ${text}${remedy}\n`)
  process.exit(failureCode)
}
