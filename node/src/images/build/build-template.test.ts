import { execFileSync, spawnSync } from 'node:child_process'
import { createWriteStream, mkdirSync, mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { BuildEvent, Step } from '@atoll/protocol'
import { beforeEach, describe, expect, test } from 'vitest'
import type { BuildSandbox, OpenBuildSandbox } from '../build-sandbox.ts'
import type { ImageRecord } from '../image-record.ts'
import { importTar } from '../import-tar.ts'
import { listImages } from '../list-images.ts'
import { openImage } from '../open-image.ts'
import { type TestStore, contentOf, leftovers, openTestStore, tarOf, whyNot } from '../test-store.ts'
import { buildTemplate } from './build-template.ts'

const signal = AbortSignal.timeout(60_000)
const quiet = () => {}
const skip = whyNot()
if (skip !== undefined) console.warn(`SKIPPED build-template: ${skip}`)

/** Stands for a sandbox in tests of the cache alone: a folder with the image's content, commands without a jail. */
const fakeSandboxes = (context: TestStore): { open: OpenBuildSandbox; opened: string[]; ran: string[] } => {
  const opened: string[] = []
  const ran: string[] = []
  const open: OpenBuildSandbox = async (digest) => {
    opened.push(digest)
    const root = mkdtempSync(join(context.folder, 'fake-'))
    const { path } = await openImage(context.store, digest, signal)
    execFileSync('fsck.erofs', [`--extract=${root}`, '--overwrite', path], { stdio: 'ignore' })
    const sandbox: BuildSandbox = {
      run: async (command, onOutput) => {
        ran.push(command.argv.join(' '))
        const [program = '', ...args] = command.argv
        const env = { PATH: '/usr/bin:/bin', ...command.env }
        const result = spawnSync(program, args, {
          cwd: join(root, command.cwd),
          env,
          timeout: command.timeoutMs,
        })
        onOutput(result.stdout)
        onOutput(result.stderr)
        return { code: result.status, signal: result.signal, timedOut: result.signal !== null }
      },
      upload: async (path, tar) => {
        const archive = join(context.folder, 'upload.tar')
        await pipeline(tar, createWriteStream(archive))
        mkdirSync(join(root, path), { recursive: true })
        execFileSync('tar', ['-C', join(root, path), '-xf', archive])
      },
      exportRoot: async () => {
        const tar = execFileSync('tar', ['-C', root, '--exclude=./.atoll', '-c', '.'], {
          maxBuffer: 64 * 1024 ** 2,
        })
        return Readable.from([tar])
      },
      [Symbol.asyncDispose]: async () => {},
    }
    return sandbox
  }
  return { open, opened, ran }
}

describe.skipIf(skip !== undefined)('buildTemplate', () => {
  let context: TestStore
  let parent: ImageRecord
  let contextPath: string

  beforeEach(async () => {
    context = await openTestStore()
    parent = await importTar(
      context.store,
      await tarOf(context.folder, { 'srv/': '' }),
      'parent',
      quiet,
      signal,
    )
    contextPath = await tarOf(context.folder, {
      'app/main.py': 'print(1)',
      'app/lib/x.py': 'x',
      'other.txt': 'o',
    })
    return () => context[Symbol.asyncDispose]()
  })

  const build = async (
    steps: readonly Step[],
    options: { noCache?: boolean; contextPath?: string; keepAfterMs?: number } = {},
  ) => {
    const fake = fakeSandboxes(context)
    const events: BuildEvent[] = []
    const plan = {
      parent,
      steps,
      contextPath: options.contextPath ?? contextPath,
      noCache: options.noCache ?? false,
      origin: 'test',
    }
    const deps = { store: context.store, openSandbox: fake.open, keepAfterMs: options.keepAfterMs ?? 0 }
    const result = await buildTemplate(deps, plan, (event) => events.push(event), signal).then(
      (image) => ({ image, error: undefined }),
      (error: unknown) => ({ image: undefined, error }),
    )
    const cached = events.filter((event) => event.type === 'step').map((event) => event.cached)
    return { ...result, events, cached, ...fake }
  }
  const shell = (line: string): Step => ({ type: 'run', shell: line })
  const steps: Step[] = [
    { type: 'env', env: { GREETING: 'hello' } },
    { type: 'workdir', path: '/srv' },
    shell('echo $GREETING > greeting; echo done'),
    { type: 'copy', from: 'app', to: '/srv/app' },
    shell('cat app/main.py > copy'),
    { type: 'start', argv: ['python3', '/srv/app/main.py'] },
  ]

  test('runs steps over each other, with the defaults set before them', async () => {
    const { image, events, cached } = await build(steps)
    expect(await contentOf(context, image as ImageRecord)).toEqual({
      '.atoll/agent': 'stands for the agent',
      'srv/app/lib/x.py': 'x',
      'srv/app/main.py': 'print(1)',
      'srv/copy': 'print(1)',
      'srv/greeting': 'hello\n',
      'tmp/.keep': '',
    })
    expect(image?.config).toMatchObject({
      env: { GREETING: 'hello' },
      workdir: '/srv',
      start: ['python3', '/srv/app/main.py'],
    })
    expect(cached).toEqual([false, false, false, false, false, false])
    expect(events.find((event) => event.type === 'output')?.text).toBe('done\n')
    expect(events.at(-1)).toMatchObject({ type: 'done', imageDigest: image?.digest })
    expect(await leftovers(context)).toEqual([])
  })

  test('runs nothing twice, and says so', async () => {
    const first = await build(steps)
    const second = await build(steps)
    expect(second.image).toEqual(first.image)
    expect(second.opened).toEqual([])
    expect(second.cached).toEqual([false, false, true, true, true, false])
  })

  test('goes on from the last layer that is the same, and leaves no image of the way', async () => {
    await build(steps)
    const before = (await listImages(context.store)).length
    const changed = [...steps.slice(0, 4), shell('echo other > copy')]
    const second = await build(changed)
    expect(second.cached).toEqual([false, false, true, true, false])
    expect(second.ran).toEqual(['/bin/sh -c echo other > copy'])
    expect(await contentOf(context, second.image as ImageRecord)).toMatchObject({
      'srv/copy': 'other\n',
      'srv/app/lib/x.py': 'x',
    })
    expect((await listImages(context.store)).length).toBe(before + 1)
  })

  test('runs again what another env, another file or noCache changes', async () => {
    await build(steps)
    const env = await build([{ type: 'env', env: { GREETING: 'bye' } }, ...steps.slice(1)])
    expect(env.cached).toEqual([false, false, false, false, false, false])
    const touched = await tarOf(
      context.folder,
      { 'app/main.py': 'print(1)', 'app/lib/x.py': 'x', 'other.txt': 'new' },
      ['--mtime=@5'],
    )
    expect((await build(steps, { contextPath: touched })).cached).toEqual([
      false,
      false,
      true,
      true,
      true,
      false,
    ])
    const changed = await tarOf(context.folder, { 'app/main.py': 'print(2)', 'app/lib/x.py': 'x' })
    const other = await build(steps, { contextPath: changed })
    expect(other.cached).toEqual([false, false, true, false, false, false])
    expect(await contentOf(context, other.image as ImageRecord)).toMatchObject({ 'srv/copy': 'print(2)' })
    expect((await build(steps, { noCache: true })).ran.length).toBe(2)
  })

  test('names the step that failed, with its output, and keeps what came before', async () => {
    const failing = [...steps.slice(0, 3), shell('echo reason; exit 7')]
    const { error, events } = await build(failing)
    expect(error).toMatchObject({
      code: 'build_failed',
      message: 'step 4 of 4 (run echo reason; exit 7) failed with exit code 7',
      details: { step: 3, exitCode: 7, output: 'reason\n' },
    })
    expect(events.at(-1)).toMatchObject({ type: 'error', step: 3, instruction: 'run echo reason; exit 7' })
    expect((await build(steps)).cached.slice(0, 3)).toEqual([false, false, true])
    const late = await build([{ type: 'run', shell: 'sleep 30', timeoutMs: 50 }])
    expect(late.error).toMatchObject({
      code: 'build_failed',
      message: 'step 1 of 1 (run sleep 30) ran over its 50 ms',
    })
    expect(await leftovers(context)).toEqual([])
  })

  test('copies one file by name or into a folder, and nothing from outside', async () => {
    const { image } = await build([
      { type: 'copy', from: 'other.txt', to: '/etc/renamed' },
      { type: 'copy', from: './app/main.py', to: 'srv/' },
      { type: 'copy', from: '.', to: '/all' },
    ])
    const content = await contentOf(context, image as ImageRecord)
    expect(content).toMatchObject({
      'etc/renamed': 'o',
      'srv/main.py': 'print(1)',
      'all/app/lib/x.py': 'x',
      'all/other.txt': 'o',
    })
    expect((await build([{ type: 'copy', from: 'none', to: '/x' }])).error).toMatchObject({
      code: 'not_found',
      details: { step: 0 },
    })
    expect((await build([{ type: 'copy', from: '../etc', to: '/x' }])).error).toMatchObject({
      code: 'image_invalid',
    })
  })

  test('keeps only the last of cheap steps, and runs them again when a later one changes', async () => {
    await build(steps, { keepAfterMs: 60_000 })
    expect((await build(steps)).cached).toEqual([false, false, true, true, true, false])
    const changed = [...steps.slice(0, 4), shell('echo other > copy')]
    const second = await build(changed, { keepAfterMs: 60_000 })
    expect(second.cached).toEqual([false, false, false, false, false])
    expect(await contentOf(context, second.image as ImageRecord)).toMatchObject({
      'srv/copy': 'other\n',
      'srv/greeting': 'hello\n',
    })
  })

  test('builds from a layer whose blob the cache let go', async () => {
    await build(steps)
    const blobs = join(context.store.cacheDirectory, 'blobs')
    execFileSync('sh', ['-c', `rm ${blobs}/*`])
    expect((await build(steps)).cached).toEqual([false, false, false, false, false, false])
  })

  test('gives an image of the same root filesystem when only defaults change', async () => {
    const { image } = await build([{ type: 'user', user: 'nobody' }])
    expect(image?.rootfs.digest).toBe(parent.rootfs.digest)
    expect(image?.digest).not.toBe(parent.digest)
  })
})
