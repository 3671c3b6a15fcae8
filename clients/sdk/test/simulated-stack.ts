import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { compose, simulatedParts } from '@atoll/standalone'
import { Atoll } from '../src/index.ts'

const silent = { info: () => undefined, warn: () => undefined, error: () => undefined }

/** Control, gateway and node on a loopback port, with the runtime that ships for tests. */
export const simulatedStack = async (): Promise<
  { atoll: Atoll; url: string; apiKey: string } & AsyncDisposable
> => {
  const dataFolder = await mkdtemp(join(tmpdir(), 'atoll-sdk-'))
  const address = { host: '127.0.0.1', port: 0 }
  const running = await compose({ dataFolder, address, logger: silent, ...simulatedParts() })
  const apiKey = running.firstKey?.secret ?? ''
  return {
    atoll: new Atoll({ baseUrl: running.url, apiKey }),
    url: running.url,
    apiKey,
    [Symbol.asyncDispose]: async () => {
      await running[Symbol.asyncDispose]()
      await rm(dataFolder, { recursive: true, force: true })
    },
  }
}
