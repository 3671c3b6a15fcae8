import { access, chmod, constants, mkdir, realpath, stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { AtollError } from '@atoll/protocol'

/** Where everything is kept, unless --data says otherwise. */
export const defaultDataFolder = '/var/lib/atoll'

/** Unix socket paths end at 107 bytes; below the folder come `sandboxes/<id>/` and a socket's name. */
export const maxDataFolderBytes = 50

/** Makes the folder, private to its owner, and answers its real path. Refuses one that could not work. */
export const prepareDataFolder = async (given: string): Promise<string> => {
  const path = resolve(given)
  await mkdir(path, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
    throw new AtollError('invalid_request', `cannot make the data folder ${path}: ${messageOf(error)}`)
  })
  const real = await realpath(path)
  checkLength(real)
  const { mode } = await stat(real)
  // Others may pass through (rootless runtimes must reach their image), but never list or write.
  if ((mode & 0o066) !== 0) await chmod(real, mode & 0o711)
  await access(real, constants.W_OK).catch(() => {
    throw new AtollError(
      'permission_denied',
      `cannot write to the data folder ${real}: run as root, or give --data`,
    )
  })
  return real
}

/** Refuses a path that would make socket paths too long: it would fail at the first sandbox, and obscurely. */
export const checkLength = (path: string): void => {
  const bytes = Buffer.byteLength(path)
  if (bytes > maxDataFolderBytes)
    throw new AtollError(
      'invalid_request',
      `cannot use ${path} as the data folder: its path is ${bytes} bytes long and at most ${maxDataFolderBytes} ` +
        'fit, because unix sockets below it are limited to 107; give a shorter one with --data',
    )
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
