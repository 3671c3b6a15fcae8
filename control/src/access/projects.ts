import { AtollError, makeId, type Project, projectSchema, type Quota } from '@atoll/protocol'
import type { Context } from '../context.ts'
import type { ProjectRow } from '../store/tables.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'random' | 'limits'>

/** Makes a project; names are unique. */
export const createProject = async (deps: Deps, name: string, quota: Quota): Promise<Project> => {
  const row: ProjectRow = {
    id: makeId('prj', deps.random(20)),
    name,
    quota_sandboxes: quota.sandboxes,
    quota_cpu_millis: quota.cpuMillis,
    quota_memory_mib: quota.memoryMib,
    version: 1,
    created_at_ms: deps.clock.now(),
  }
  await deps.db.transaction().execute(async (trx) => {
    const taken = await trx.selectFrom('projects').select('id').where('name', '=', name).executeTakeFirst()
    if (taken !== undefined) throw nameTaken(name)
    const { count } = await trx
      .selectFrom('projects')
      .select((eb) => eb.fn.countAll<number>().as('count'))
      .executeTakeFirstOrThrow()
    if (Number(count) >= deps.limits.projects)
      throw new AtollError('quota_exceeded', `cannot make project ${name}: there are ${count} already`)
    await trx.insertInto('projects').values(row).execute()
  })
  return viewProject(row)
}

/** A page of all projects, by id. */
export const listProjects = async (
  context: Context,
  page: { readonly cursor?: string | undefined; readonly limit: number },
): Promise<{ projects: Project[]; nextCursor: string | null }> => {
  const rows = await context.db
    .selectFrom('projects')
    .selectAll()
    .where('id', '>', page.cursor ?? '')
    .orderBy('id')
    .limit(page.limit + 1)
    .execute()
  const shown = rows.slice(0, page.limit)
  return {
    projects: shown.map(viewProject),
    nextCursor: rows.length > page.limit ? (shown.at(-1)?.id ?? null) : null,
  }
}

/** Changes a project's name or quota. A quota below what is in use stops new sandboxes, and ends none. */
export const changeProject = async (
  context: Context,
  id: string,
  change: {
    readonly name?: string | undefined
    readonly quota?: Partial<Record<keyof Quota, number | undefined>> | undefined
  },
): Promise<Project> =>
  await context.db.transaction().execute(async (trx) => {
    const row = await trx.selectFrom('projects').selectAll().where('id', '=', id).executeTakeFirst()
    if (row === undefined) throw new AtollError('not_found', `cannot find project ${id}`)
    const name = change.name ?? row.name
    const taken = await trx
      .selectFrom('projects')
      .select('id')
      .where('name', '=', name)
      .where('id', '!=', id)
      .executeTakeFirst()
    if (taken !== undefined) throw nameTaken(name)
    const after = {
      name,
      quota_sandboxes: change.quota?.sandboxes ?? row.quota_sandboxes,
      quota_cpu_millis: change.quota?.cpuMillis ?? row.quota_cpu_millis,
      quota_memory_mib: change.quota?.memoryMib ?? row.quota_memory_mib,
      version: row.version + 1,
    }
    await trx.updateTable('projects').set(after).where('id', '=', id).execute()
    return viewProject({ ...row, ...after })
  })

const nameTaken = (name: string): AtollError =>
  new AtollError('conflict', `cannot name a project ${name}: another one has that name; choose another`)

const viewProject = (row: ProjectRow): Project =>
  projectSchema.parse({
    id: row.id,
    name: row.name,
    quota: {
      sandboxes: row.quota_sandboxes,
      cpuMillis: row.quota_cpu_millis,
      memoryMib: row.quota_memory_mib,
    },
    createdAtMs: row.created_at_ms,
  })
