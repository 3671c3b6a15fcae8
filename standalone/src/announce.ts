import { styleText } from 'node:util'
import type { CreatedKey, NodeInfo } from '@atoll/protocol'
import { isLoopback } from './address.ts'
import type { LocalConfig } from './local-config.ts'

export interface Announcement {
  readonly url: string
  readonly host: string
  readonly dataFolder: string
  readonly firstKey: CreatedKey | undefined
  readonly saved: { readonly path: string; readonly config: LocalConfig | undefined }
  readonly info: NodeInfo
}

/** What `up` says once it answers: where, with which key, and what isolation is in force (invariant 11). */
export const announcement = (told: Announcement): string => {
  const bold = (text: string): string => styleText('bold', text, { stream: process.stdout })
  const lines = [`Atoll answers at ${bold(told.url)}, data in ${told.dataFolder}`]
  if (!isLoopback(told.host) && !told.url.startsWith('https:'))
    lines.push('It listens beyond this machine, without TLS: put a proxy with TLS in front of it.')
  if (told.firstKey !== undefined)
    lines.push(
      `First key, shown once, for everything: ${bold(told.firstKey.secret)}`,
      `Saved for the CLI here: ${told.saved.path}`,
    )
  else if (told.saved.config === undefined)
    lines.push(
      `No key for the CLI in ${told.saved.path}: set ATOLL_API_KEY to the one that the first start showed.`,
    )
  return [...lines, ...isolationLines(told.info)].join('\n')
}

const isolationLines = ({ runtimes, sandboxes }: NodeInfo): string[] => {
  const inForce = runtimes.find(({ available }) => available)
  const lines =
    inForce === undefined
      ? ['No isolation is available: sandboxes cannot be created.']
      : [`Isolation in force: ${inForce.runtime} (${inForce.strength}). ${inForce.description}`]
  // Those in front of it are stronger and not to be had; `find` gave the first that is.
  for (const stronger of runtimes.slice(0, inForce === undefined ? undefined : runtimes.indexOf(inForce)))
    lines.push(
      `  stronger: ${stronger.runtime}: ${stronger.reason ?? 'not available'}; ${stronger.remedy ?? 'see atoll doctor'}`,
    )
  if (sandboxes > 0) lines.push(`${sandboxes} sandboxes of before run on.`)
  return lines
}
