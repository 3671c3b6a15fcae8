import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Sandbox } from '@atoll/sdk'
import type { Attack } from './attack.ts'

const probe = new URL('inside/probe.py', import.meta.url)
/** For a whole table; a single attack has 5 s (inside/probe.py). */
const tableTimeoutMs = 120_000

/** What each attack of a table came to, by name. */
export type Outcomes = ReadonlyMap<string, string>

/** Runs a table inside a sandbox, as its user or as its root. */
export const runInside = async (
  sandbox: Sandbox,
  attacks: readonly Attack[],
  asRoot: boolean,
): Promise<Outcomes> => {
  await sandbox.files.write('/tmp/probe.py', await readFile(probe), { user: 'user' })
  await sandbox.files.write('/tmp/attacks.json', JSON.stringify(attacks), { user: 'user' })
  const argv = ['python3', '/tmp/probe.py', '/tmp/attacks.json']
  const result = await sandbox.run(argv, { user: asRoot ? 'root' : 'user', timeoutMs: tableTimeoutMs })
  if (!result.ok) throw new Error(`the probe itself failed: ${JSON.stringify(result.exit)} ${result.stderr}`)
  return parse(result.stdout)
}

/**
 * The negative twins: the same attacks by root on the host with no sandbox around them, in namespaces of their own
 * so that nothing of the host changes. Attacks that would reach past the namespaces have no twin.
 */
export const runTwins = async (attacks: readonly Attack[]): Promise<Outcomes> => {
  const folder = await mkdtemp('/run/atoll-twin-')
  try {
    const namespaces = ['--mount', '--pid', '--fork', '--kill-child=SIGKILL', '--mount-proc']
    const own = ['--user', '--map-root-user', '--net', '--uts', '--ipc']
    const run = async (twin: Attack['twin'], options: readonly string[]): Promise<Outcomes> => {
      const cases = join(folder, `${twin}.json`)
      await writeFile(cases, JSON.stringify(attacks.filter((attack) => attack.twin === twin)))
      const script = 'mount -t tmpfs none /tmp && python3 "$0" "$1"'
      const argv = [...options, 'sh', '-c', script, probe.pathname, cases]
      return parse((await promisify(execFile)('unshare', argv, { timeout: tableTimeoutMs })).stdout)
    }
    const inNamespaces = await run('namespaces', [...namespaces, ...own])
    return new Map([...inNamespaces, ...(await run('host', namespaces))])
  } finally {
    await rm(folder, { recursive: true })
  }
}

const parse = (text: string): Outcomes =>
  new Map(
    text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { name: string; outcome: string })
      .map(({ name, outcome }) => [name, outcome]),
  )
