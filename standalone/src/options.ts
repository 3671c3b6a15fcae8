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
  /** Frozen machines of `base` that wait for a create; 0: none of any image. Undefined: the node's default. */
  readonly pool: number | undefined
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
    pool: poolOf(values.pool),
    logLevel,
  }
}

/** Most that can be asked for: what the node gives user ids to is far more, but each takes memory. */
const poolMax = 2_000

const poolOf = (text: string | undefined): number | undefined => {
  if (text === undefined) return undefined
  if (/^\d{1,4}$/.test(text) && Number(text) <= poolMax) return Number(text)
  throw new AtollError('invalid_request', `cannot keep a pool of ${text}: give a number from 0 to ${poolMax}`)
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
        pool: { type: 'string' },
        'log-level': { type: 'string' },
      },
    }).values
  } catch (error) {
    throw new AtollError('invalid_request', `${(error as Error).message}; see atoll up --help`)
  }
}
