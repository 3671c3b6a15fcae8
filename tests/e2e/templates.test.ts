import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { BuildEvent, BuildInput } from '@atoll/sdk'
import { type Drill, small, startDrill } from './drill.ts'
import { type LoopbackRegistry, skopeo, startRegistry } from './loopback-registry.ts'
import { makeSmallRoot, makeUpperLayer, sha256, smallConfig, tarOf, writeLayout } from './small-image.ts'

const missing = ['/usr/bin/docker-registry', '/usr/bin/skopeo'].filter((tool) => !existsSync(tool))
if (missing.length > 0)
  console.warn(`SKIPPED: registry drills need ${missing.join(' and ')} (apt-get install)`)

describe('a template', () => {
  let drill: Drill
  let manifest: string
  const folder = mkdtempSync('/tmp/atoll-images-')
  const layout = join(folder, 'layout')
  const lower = join(folder, 'lower')
  const upper = join(folder, 'upper')
  beforeAll(async () => {
    makeSmallRoot(lower)
    makeUpperLayer(upper)
    manifest = writeLayout(layout, [tarOf(lower), tarOf(upper)], smallConfig)
    drill = await startDrill()
  })
  afterAll(async () => {
    await drill?.[Symbol.asyncDispose]()
    rmSync(folder, { recursive: true, force: true })
  })

  const build = async (input: BuildInput): Promise<BuildEvent[]> => {
    const log: BuildEvent[] = []
    const handle = await drill.stack.atoll.templates.build(input)
    const done = await handle.wait({ onEvent: (event) => log.push(event) })
    expect(done).toMatchObject({ state: 'succeeded', template: expect.stringMatching(/^tpl_/) })
    expect(log.at(-1)?.type).toBe('done')
    return log
  }

  const inside = async (template: string, line: string, user?: string): Promise<string> => {
    await using sandbox = await drill.stack.atoll.sandboxes.create({
      template,
      runtime: 'gvisor',
      limits: small,
    })
    const { stdout, stderr, exit } = await sandbox.run(line, user === undefined ? {} : { user })
    expect(exit, stderr).toMatchObject({ code: 0 })
    return stdout
  }

  /** Both layers: changed, removed, made opaque; and the config of the image. */
  const seesBothLayers = async (template: string) => {
    const text = await inside(template, 'cat /etc/marker; ls /opt/dir; ls /etc; echo $GREETING; pwd; id -un')
    const lines = text.trim().split('\n')
    expect(lines.slice(0, 2)).toEqual(['upper', 'seen'])
    expect(lines).not.toContain('removed')
    expect(lines).not.toContain('hidden')
    expect(lines.slice(-3)).toEqual(['from the image', '/srv', 'nobody'])
  }

  it('is built from a root filesystem tar', async () => {
    const tar = tarOf(lower)
    const { sha256: upload } = await drill.stack.atoll.templates.upload(tar)
    expect(upload).toBe(sha256(tar))
    await build({ name: 'from-tar', source: { type: 'tar', upload } })
    expect(await inside('from-tar', 'cat /etc/marker /etc/removed; id -un')).toBe(
      'lower\nmust not be seen\nroot\n',
    )
  })

  it('is built from an OCI archive, layers and config and all', async () => {
    const archive = tarOf(layout)
    const { sha256: upload } = await drill.stack.atoll.templates.upload(archive)
    await build({ name: 'from-oci', source: { type: 'oci', upload } })
    await seesBothLayers('from-oci')
  })

  it('is refused when a blob of the archive is not what its digest says', async () => {
    const damaged = join(folder, 'damaged')
    // A layer that no build has seen: one of the same digest would come whole from the cache.
    const content = join(folder, 'damaged-content')
    mkdirSync(content)
    writeFileSync(join(content, 'new'), randomUUID())
    writeLayout(damaged, [tarOf(content)], smallConfig)
    for (const blob of readdirSync(join(damaged, 'blobs/sha256'))) {
      const path = join(damaged, 'blobs/sha256', blob)
      const bytes = readFileSync(path)
      if (bytes[0] !== 0x1f) continue
      // In gzip's time stamp, which no check sum of its own covers: only the digest can tell.
      bytes[4]! ^= 1
      writeFileSync(path, bytes)
    }
    const { sha256: upload } = await drill.stack.atoll.templates.upload(tarOf(damaged))
    const handle = await drill.stack.atoll.templates.build({
      name: 'damaged',
      source: { type: 'oci', upload },
    })
    await expect(handle.wait()).rejects.toMatchObject({ code: 'hash_mismatch' })
    await expect(drill.stack.atoll.templates.get('damaged')).rejects.toMatchObject({ code: 'not_found' })
  })

  describe.skipIf(missing.length > 0)('from a registry on loopback', () => {
    let open: LoopbackRegistry
    let locked: LoopbackRegistry
    beforeAll(async () => {
      open = await startRegistry({ locked: false })
      locked = await startRegistry({ locked: true })
      skopeo('copy', '--dest-tls-verify=false', `oci:${layout}`, `docker://${open.host}/drill/small:1`)
      skopeo(
        'copy',
        '--dest-tls-verify=false',
        `--dest-creds=${locked.username}:${locked.password}`,
        `oci:${layout}`,
        `docker://${locked.host}/drill/small:1`,
      )
    })
    afterAll(async () => {
      await open?.[Symbol.asyncDispose]()
      await locked?.[Symbol.asyncDispose]()
    })

    it('is pulled by tag and by digest, as skopeo sees it', async () => {
      const seen = JSON.parse(
        skopeo('inspect', '--tls-verify=false', `docker://${open.host}/drill/small:1`),
      ) as {
        Digest: string
      }
      expect(seen.Digest).toBe(manifest)
      await build({
        name: 'by-tag',
        source: { type: 'registry', reference: `${open.host}/drill/small:1`, plainHttp: true },
      })
      await seesBothLayers('by-tag')
      await build({
        name: 'by-digest',
        source: { type: 'registry', reference: `${open.host}/drill/small@${manifest}`, plainHttp: true },
      })
      const [tag, digest] = await Promise.all([
        drill.stack.atoll.templates.get('by-tag'),
        drill.stack.atoll.templates.get('by-digest'),
      ])
      expect(digest.imageDigest).toBe(tag.imageDigest)
    })

    it('is pulled with credentials, refused without, and the password is nowhere', async () => {
      const source = { type: 'registry', reference: `${locked.host}/drill/small:1`, plainHttp: true } as const
      const { username, password } = locked
      await build({ name: 'locked', source: { ...source, username, password } })
      await seesBothLayers('locked')
      for (const wrong of [{}, { username, password: 'wrong' }]) {
        const handle = await drill.stack.atoll.templates.build({
          name: 'refused',
          source: { ...source, ...wrong },
        })
        const error = await handle.wait().then(
          () => undefined,
          (failed: unknown) => failed,
        )
        expect(error).toMatchObject({
          code: expect.stringMatching(
            /^(unauthenticated|forbidden|permission_denied|image_invalid|build_failed)$/,
          ),
        })
        expect(String(error)).toMatch(/credential|password|401|authent/i)
      }
      const { dataFolder } = drill.stack
      const found = execFileSync(
        'sh',
        ['-c', `grep -rlF "$1" "$0" --exclude-dir=templates || true`, dataFolder, password],
        {
          encoding: 'utf8',
        },
      )
      expect(found).toBe('')
    })
  })

  it('works with nothing in it but the agent', async () => {
    const empty = join(folder, 'empty')
    mkdirSync(empty)
    const { sha256: upload } = await drill.stack.atoll.templates.upload(tarOf(empty))
    await build({ name: 'nothing', source: { type: 'tar', upload } })
    await using sandbox = await drill.stack.atoll.sandboxes.create({ template: 'nothing', limits: small })
    expect(await sandbox.files.write('/data/note', 'kept', { parents: true })).toMatchObject({ size: 4 })
    expect(await sandbox.files.readText('/data/note')).toBe('kept')
    await expect(sandbox.run(['/bin/sh', '-c', 'true'])).rejects.toMatchObject({ code: 'exec_failed' })
    const version = await sandbox.run(['/.atoll/agent', '--version'])
    expect(version.exit.code).toBe(0)
    expect((await sandbox.metrics()).memory.limitBytes).toBeGreaterThan(0)
  })
})
