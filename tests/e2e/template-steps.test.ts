import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { BuildEvent, BuildInput, Step } from '@atoll/sdk'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Drill, small, startDrill } from './drill.ts'
import { makeSmallRoot, tarOf } from './small-image.ts'

describe('the steps of a build', () => {
  let drill: Drill
  let context: string
  const folder = mkdtempSync('/tmp/atoll-steps-')
  const contextFolder = join(folder, 'context')
  beforeAll(async () => {
    drill = await startDrill()
    // A small parent: what a step costs grows with what stands below it, and what it does does not.
    makeSmallRoot(join(folder, 'root'))
    const { sha256: upload } = await drill.stack.atoll.templates.upload(tarOf(join(folder, 'root')))
    const handle = await drill.stack.atoll.templates.build({ name: 'small', source: { type: 'tar', upload } })
    await handle.wait()
    context = await contextWith('first')
  })
  afterAll(async () => {
    await drill?.[Symbol.asyncDispose]()
    rmSync(folder, { recursive: true, force: true })
  })

  const contextWith = async (text: string): Promise<string> => {
    mkdirSync(join(contextFolder, 'app'), { recursive: true })
    writeFileSync(join(contextFolder, 'app/main.sh'), `echo "${text}"\n`)
    return (await drill.stack.atoll.templates.upload(tarOf(contextFolder))).sha256
  }

  const steps: Step[] = [
    { type: 'env', env: { PLACE: '/srv/app' } },
    {
      type: 'run',
      shell: 'mkdir -p "$PLACE" && echo made > "$PLACE/made" && date +%s%N > "$PLACE/when"',
      user: 'root',
    },
    { type: 'copy', from: 'app', to: '/srv/app/code' },
    { type: 'workdir', path: '/srv/app' },
    { type: 'run', shell: 'sh code/main.sh && cat made && pwd' },
    { type: 'user', user: 'nobody' },
  ]

  const build = async (more: Partial<BuildInput> = {}): Promise<BuildEvent[]> => {
    const log: BuildEvent[] = []
    const handle = await drill.stack.atoll.templates.build({
      name: 'stepped',
      source: { type: 'template', name: 'small' },
      steps,
      context,
      ...more,
    })
    await handle.wait({ onEvent: (event) => log.push(event) })
    return log
  }
  const stepsOf = (log: readonly BuildEvent[]) => log.filter(({ type }) => type === 'step')
  const textOf = (log: readonly BuildEvent[]) => log.map(({ text }) => text ?? '').join('')
  const inside = async (line: string): Promise<string> => {
    await using sandbox = await drill.stack.atoll.sandboxes.create({
      template: 'stepped',
      runtime: 'gvisor',
      limits: small,
    })
    return (await sandbox.run(line, { check: true })).stdout
  }

  it('run inside, are logged, and leave their result and defaults', async () => {
    const log = await build()
    expect(textOf(log)).toContain('first\nmade\n/srv/app\n')
    expect(stepsOf(log).map(({ step }) => step)).toEqual([...new Set(stepsOf(log).map(({ step }) => step))])
    expect(stepsOf(log).some(({ cached }) => cached)).toBe(false)
    expect(await inside('pwd; id -un; echo $PLACE; sh code/main.sh; cat made')).toBe(
      '/srv/app\nnobody\n/srv/app\nfirst\nmade\n',
    )
  })

  it('come from the cache when nothing changed, run again when asked or when a copied file changed', async () => {
    const when = await inside('cat when')
    const again = await build()
    expect(stepsOf(again).filter(({ cached }) => cached === true).length).toBeGreaterThanOrEqual(3)
    expect(textOf(again)).not.toContain('first\nmade')
    expect(await inside('cat when')).toBe(when)

    context = await contextWith('second')
    const changed = await build()
    expect(textOf(changed)).toContain('second\nmade')
    // What stands before the copied file is still the layer of before.
    expect(await inside('cat when; sh code/main.sh')).toBe(`${when}second\n`)

    await build({ noCache: true })
    expect(await inside('cat when')).not.toBe(when)
  })

  it('that fail are named, with what they said, and leave the template as it was', async () => {
    const before = await drill.stack.atoll.templates.get('stepped')
    const failing: Step[] = [...steps, { type: 'run', shell: 'echo the reason >&2; exit 41' }]
    const error = await build({ steps: failing }).then(
      () => undefined,
      (failed: unknown) => failed as { code: string; message: string; details?: Record<string, unknown> },
    )
    expect(error).toMatchObject({ code: 'build_failed' })
    expect(error?.message).toMatch(/step 7|step 6|exit 41/)
    expect(`${error?.message} ${JSON.stringify(error?.details)}`).toMatch(/41/)
    expect(`${error?.message} ${JSON.stringify(error?.details)}`).toMatch(/the reason/)
    expect(await drill.stack.atoll.templates.get('stepped')).toEqual(before)
  })

  it('that are canceled end, and no sandbox of the build stays', async () => {
    const handle = await drill.stack.atoll.templates.build({
      name: 'canceled',
      source: { type: 'template', name: 'small' },
      steps: [{ type: 'run', shell: 'echo begun; sleep 300' }],
    })
    for await (const event of handle.log()) if (event.text?.includes('begun')) break
    expect(await handle.cancel()).toMatchObject({ state: expect.stringMatching(/^(canceled|running)$/) })
    const end = await handle.wait().then(
      () => 'built',
      (failed: { code: string }) => failed.code,
    )
    expect(end).toMatch(/canceled|build_failed/)
    expect(await handle.info()).toMatchObject({ state: 'canceled' })
    const left = await drill.difference()
    expect({
      processes: left['processes'] ?? [],
      cgroups: left['cgroups'] ?? [],
      mounts: left['mounts'] ?? [],
    }).toEqual({
      processes: [],
      cgroups: [],
      mounts: [],
    })
  })
})
