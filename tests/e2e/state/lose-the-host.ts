import { globSync, writeFileSync } from 'node:fs'
import type { Stack } from '../../stack/start-stack.ts'
import { until } from '../call.ts'
import { type HostProcess, hostProcess, hostProcesses, killExactly } from '../host-processes.ts'
import { removeCgroups } from '../host-traces.ts'
import { machinesInUse } from './machine-of.ts'

/** Everything that runs for a stack besides its daemon, which must be dead already. */
const processesOf = (stack: Pick<Stack, 'dataFolder'>, machines: readonly string[]): HostProcess[] =>
  hostProcesses().filter(
    ({ pid, commandLine, cgroups }) =>
      pid !== process.pid &&
      [stack.dataFolder, ...machines].some((mark) => `${commandLine} ${cgroups}`.includes(mark)),
  )

/** A power cut as far as it can be had without one: every process dies at one instant, and cgroups are gone. */
export const losePower = async (stack: Stack): Promise<void> => {
  await stack.crash()
  const machines = machinesInUse(stack)
  for (let round = 0; round < 20; round++) {
    const found = processesOf(stack, machines)
    if (found.length === 0) break
    // Stopped first, so that no shim has the time to write an end.
    for (const { pid } of found) stop(pid)
    for (const target of found) killExactly(target)
    thawAll(machines)
    for (const { pid } of found)
      await until(`${pid} is gone`, 5_000, () => (hostProcess(pid) === undefined ? true : undefined))
  }
  for (const machine of machines) await removeCgroups(machine)
}

/** One that is gone already needs no stop. */
const stop = (pid: number): void => {
  try {
    process.kill(pid, 'SIGSTOP')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** A frozen process dies only when it runs again, and with the kill on it already it runs no more. */
const thawAll = (machines: readonly string[]): void => {
  for (const machine of machines) {
    for (const path of globSync(`/sys/fs/cgroup/**/*${machine}*/**/freezer.state`))
      writeFileSync(path, 'THAWED')
    for (const path of globSync(`/sys/fs/cgroup/**/*${machine}*/**/cgroup.freeze`)) writeFileSync(path, '0')
  }
}
