import { runTool } from '../host/run-tool.ts'

const listMs = 30_000

/**
 * The host's own apt sources of a Debian suite, its updates and its security fixes, as lines for a new root.
 * Empty where the host has none (it is no Debian): mmdebstrap then takes its own default.
 */
export const aptSources = async (suite: string, signal: AbortSignal): Promise<string[]> => {
  const answer = await runTool({
    act: "read the host's apt sources",
    command: [
      'apt-get',
      'indextargets',
      '--format',
      '$(REPO_URI) $(RELEASE) $(COMPONENT)',
      'Created-By: Packages',
    ],
    signal: AbortSignal.any([signal, AbortSignal.timeout(listMs)]),
  })
  const suites = new Set([suite, `${suite}-updates`, `${suite}-security`])
  const lines = answer.stdout
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([uri, release, component]) => uri !== '' && suites.has(release ?? '') && component === 'main')
    .map(([uri, release, component]) => `deb ${uri} ${release} ${component}`)
  const unique = [...new Set(lines)]
  return unique.some((line) => line.includes(` ${suite} `)) ? unique : []
}

/** True when every source is one of Debian's own hosts, so that a sandbox may know it. */
export const publicSourcesOnly = (sources: readonly string[]): boolean =>
  sources.every((line) => {
    const url = URL.parse(line.split(' ')[1] ?? '')
    return url !== null && url.hostname.endsWith('.debian.org') && url.username === '' && url.password === ''
  })
