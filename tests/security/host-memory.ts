import { readFileSync } from 'node:fs'

/** Resident bytes of a process of the host. */
export const daemonResidentBytes = (pid: number): number => {
  const line = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  if (line === null) throw new Error(`process ${pid} has no VmRSS: it ended`)
  return Number(line[1]) * 1024
}
