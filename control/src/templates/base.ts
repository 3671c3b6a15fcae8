import { makeId, type NodeApi, type NodeImage } from '@atoll/protocol'
import type { Clock } from '@atoll/kit'
import type { Database } from '../store/open.ts'

/** The template that every project has, and that create takes when none is named. */
export const baseName = 'base'

interface BaseDeps {
  readonly db: Database
  readonly node: NodeApi
  readonly clock: Clock
  readonly random: (bytes: number) => Uint8Array
  readonly closed: AbortSignal
}

/** Builds the base template when it is first needed; those who come meanwhile wait for the same build. */
export const baseTemplate = (deps: BaseDeps) => {
  let underWay: Promise<void> | undefined
  let there = false
  const ensure = async (): Promise<void> => {
    const row = await deps.db
      .selectFrom('templates')
      .select('image_digest')
      .where('project', '=', '')
      .where('name', '=', baseName)
      .executeTakeFirst()
    const images = await deps.node.images()
    if (row !== undefined && images.some((image) => image.digest === row.image_digest)) return
    const order = { source: { type: 'base' } as const, steps: [], contextPath: null, noCache: false }
    await record(deps, await deps.node.build(order, () => {}, deps.closed))
  }
  return {
    async ready(): Promise<void> {
      if (there) return
      underWay ??= ensure()
        .then(() => void (there = true))
        .finally(() => void (underWay = undefined))
      await underWay
    },
  }
}

export type BaseTemplate = ReturnType<typeof baseTemplate>

const record = async (deps: BaseDeps, image: NodeImage): Promise<void> => {
  const facts = {
    image_digest: image.digest,
    size_bytes: image.sizeBytes,
    config: JSON.stringify(image.config),
    created_at_ms: deps.clock.now(),
  }
  await deps.db
    .insertInto('templates')
    .values({ id: makeId('tpl', deps.random(20)), project: '', name: baseName, ...facts })
    .onConflict((conflict) => conflict.columns(['project', 'name']).doUpdateSet(facts))
    .execute()
}
