import { AtollError } from '@atoll/protocol'

/** A place in a list that is ordered by time and id. */
export const makeCursor = (atMs: number, id: string): string =>
  Buffer.from(`${atMs}.${id}`).toString('base64url')

/** What a list gave before; anything else is refused. */
export const readCursor = (cursor: string, prefix: 'sbx' | 'snp'): { atMs: number; id: string } => {
  const text = Buffer.from(cursor, 'base64url').toString('latin1')
  const match = /^(\d{1,15})\.((sbx|snp)_[a-z2-7]{20})$/.exec(text)
  if (match?.[1] === undefined || match[2] === undefined || match[3] !== prefix)
    throw new AtollError('invalid_request', 'cursor: is not one that a list gave; begin without it')
  return { atMs: Number(match[1]), id: match[2] }
}
