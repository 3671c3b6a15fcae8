import { parseArgs } from 'node:util'
import { AtollError } from '@atoll/protocol'
import { type Address, addressOf } from './address.ts'
import { defaultDataFolder } from './data-folder.ts'
import { type PublicName, publicNameOf } from './public-name.ts'
import { type TlsFiles, tlsFilesOf } from './tls.ts'

export interface Options {
  readonly dataFolder: string
  readonly address: Address
  readonly publicName: PublicName | undefined
  readonly tls: TlsFiles | undefined
  readonly json: boolean
  readonly simulated: boolean
  readonly logLevel: string
}

const levels = ['trace', 'debug', 'info', 'warn', 'error']

/** The words after the verb. */
export const parseOptions = (args: readonly string[]): Options => {
  const values = read(args)
  const logLevel = values['log-level'] ?? 'info'
  if (!levels.includes(logLevel))
    throw new AtollError('invalid_request', `cannot log at ${logLevel}: give one of ${levels.join(', ')}`)
  return {
    dataFolder: values.data ?? defaultDataFolder,
    address: addressOf(values),
    publicName: publicNameOf(values.domain),
    tls: tlsFilesOf(values['tls-cert'], values['tls-key']),
    json: values.json === true,
    simulated: values.simulated === true,
    logLevel,
  }
}

const read = (args: readonly string[]) => {
  try {
    return parseArgs({
      args: [...args],
      options: {
        data: { type: 'string' },
        port: { type: 'string' },
        listen: { type: 'string' },
        domain: { type: 'string' },
        'tls-cert': { type: 'string' },
        'tls-key': { type: 'string' },
        json: { type: 'boolean' },
        simulated: { type: 'boolean' },
        'log-level': { type: 'string' },
      },
    }).values
  } catch (error) {
    throw new AtollError('invalid_request', `${(error as Error).message}; see atoll up --help`)
  }
}
