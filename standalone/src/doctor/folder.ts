import { existsSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { createServer } from 'node:net'
import { dirname, resolve } from 'node:path'
import type { Address } from '../address.ts'
import { checkLength } from '../data-folder.ts'
import { runningDaemon } from '../lock-folder.ts'
import { type Check, messageOf, missing, ok, warning } from './check.ts'

/** Below this the base template cannot be built; sandboxes need their own on top. */
const neededBytes = 4 * 1024 ** 3

export const checkFolder =
  (folder: string): Check =>
  async () => {
    try {
      checkLength(resolve(folder))
    } catch (error) {
      return missing('data folder', messageOf(error))
    }
    let there = resolve(folder)
    while (!existsSync(there)) there = dirname(there)
    const { bavail, bsize } = await statfs(there)
    const free = `${((bavail * bsize) / 1024 ** 3).toFixed(1)} GiB free in ${folder}`
    return bavail * bsize < neededBytes
      ? missing(
          'data folder',
          `${free}, and ${neededBytes / 1024 ** 3} are needed`,
          'free space, or give another --data',
        )
      : ok('data folder', free)
  }

export const checkPort =
  (folder: string, { host, port }: Address): Check =>
  async () => {
    const daemon = runningDaemon(folder)
    if (daemon !== undefined)
      return ok('port', `Atoll runs there already: pid ${daemon.pid} at ${daemon.url}`)
    const problem = await new Promise<string | undefined>((done) => {
      const server = createServer()
      server.once('error', (error: NodeJS.ErrnoException) => done(error.code ?? error.message))
      server.listen(port, host, () => server.close(() => done(undefined)))
    })
    return problem === undefined
      ? ok('port', `${host}:${port} is free`)
      : warning('port', `${host}:${port} cannot be used (${problem})`, 'give another --port')
  }
