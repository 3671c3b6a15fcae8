import { type Atoll, AtollError } from '@atoll/sdk'

/** The id of a snapshot that is given by id or by name. */
export const snapshotIdOf = async (atoll: Atoll, text: string, signal: AbortSignal): Promise<string> => {
  if (/^snp_[a-z2-7]{20}$/.test(text)) return text
  for await (const { id } of atoll.snapshots.list({ name: text, signal })) return id
  throw new AtollError(
    'not_found',
    `cannot find snapshot ${text}: this project has none of that name; see atoll snapshot list`,
  )
}
