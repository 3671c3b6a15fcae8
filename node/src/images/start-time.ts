import { readFile } from 'node:fs/promises'

/** Field 22 of /proc/pid/stat: with the pid it identifies a process. Undefined when there is none. */
export const startTimeOf = async (pid: number): Promise<string | undefined> => {
  if (!Number.isInteger(pid) || pid <= 0) return undefined
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
    // The name in parentheses may hold anything; fields count from behind it.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return undefined
  }
}
