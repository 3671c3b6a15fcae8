import { join } from 'node:path'
import { type Logger, pino } from 'pino'

/** Members that hold secrets wherever they appear (invariant 7). */
const secret = ['apiKey', 'secret', 'token', 'password', 'authorization', 'env', 'firstKey']

/** The daemon's log: JSON lines in the data folder, readable by its owner only. */
export const openLog = (folder: string, level: string): Logger =>
  pino(
    {
      level,
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths: secret.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]), censor: '[hidden]' },
    },
    // Synchronous: the last line before a crash is the one that matters.
    pino.destination({ dest: join(folder, 'daemon.log'), mode: 0o600, sync: true }),
  )
