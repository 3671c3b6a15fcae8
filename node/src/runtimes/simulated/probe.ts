import type { Capabilities } from '../driver.ts'
import { simulatedVersion } from './version.ts'

/** Always there: it needs nothing of the host. */
export const probe = async (): Promise<Capabilities> => ({
  available: true,
  version: simulatedVersion,
  isolation: 'None: a simulation in memory for tests, which runs no program of anyone.',
  strength: 'none',
  memorySnapshot: true,
  diskStop: true,
  diskSnapshot: 'guest',
  freeze: true,
  resize: true,
  limits: { cpu: 'none', memory: 'reported', processes: 'enforced', disk: 'enforced', openFiles: 'none' },
  notes: [
    'Chosen only by name.',
    'Knows a handful of programs; the file system is in memory and ends with the daemon.',
  ],
})
