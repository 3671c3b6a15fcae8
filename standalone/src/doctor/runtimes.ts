import type { RuntimeDriver } from '@atoll/node'
import { type Finding, messageOf, missing, ok, warning } from './check.ts'

/** Ms that a runtime gets to boot a sandbox, run a command in it and end it. */
const probeTimeoutMs = 60_000

/** Boots a sandbox with each runtime. One that boots is enough; only a strong one is what it should be. */
export const checkRuntimes = async (
  drivers: readonly RuntimeDriver[],
  signal: AbortSignal,
): Promise<readonly Finding[]> => {
  const findings: Finding[] = []
  let strongest: 'strong' | 'weak' | 'none' | undefined
  for (const driver of drivers) {
    try {
      const seen = await driver.probe(AbortSignal.any([signal, AbortSignal.timeout(probeTimeoutMs)]))
      if (seen.available) strongest = strongest === 'strong' ? 'strong' : seen.strength
      findings.push(
        seen.available
          ? ok(
              driver.name,
              `booted a sandbox and ran a command in it: ${seen.version}, isolation ${seen.strength}`,
            )
          : warning(
              driver.name,
              seen.unavailable?.reason ?? 'did not boot a sandbox',
              seen.unavailable?.remedy,
            ),
      )
    } catch (error) {
      findings.push(warning(driver.name, messageOf(error)))
    }
  }
  if (strongest === undefined)
    findings.push(missing('isolation', 'no runtime boots a sandbox here', 'mend one of those above'))
  else if (strongest !== 'strong')
    findings.push(
      warning(
        'isolation',
        'containers only: code inside talks to the kernel of this host',
        'mend gvisor above',
      ),
    )
  return findings
}
