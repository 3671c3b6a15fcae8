import type { CallOptions, Connection } from './connection.ts'

interface Page {
  readonly nextCursor?: string | null
  readonly [items: string]: unknown
}

/** Every item of a list with cursors; the next page is asked for when the loop gets there. */
export async function* pages<T>(
  connection: Connection,
  path: string,
  items: string,
  query: Readonly<Record<string, string | undefined>>,
  call: CallOptions,
): AsyncGenerator<T, void, undefined> {
  let cursor: string | undefined
  do {
    const page: Page = await connection.json<Page>({
      ...call,
      method: 'GET',
      path,
      query: { ...query, cursor },
      act: `list ${items}`,
    })
    yield* (page[items] ?? []) as T[]
    cursor = page.nextCursor ?? undefined
  } while (cursor !== undefined)
}
