import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, open, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const execute = promisify(execFile)

/** runsc by its own CLI on the same image, without any of our code: what Atoll is held against. */
export interface BareRuntime extends AsyncDisposable {
  /** Cold start, the command, the end. */
  runOnce(argv: readonly string[]): Promise<void>
  /** `runsc exec` in a container that runs already. */
  exec(argv: readonly string[]): Promise<void>
  /** A checkpoint of an idle container, and how long the CLI takes to restore it into a new one. */
  checkpointed(): Promise<BareCheckpoint>
}

export interface BareCheckpoint extends AsyncDisposable {
  restore(): Promise<void>
}

const namespaces = [{ type: 'pid' }, { type: 'ipc' }, { type: 'uts' }, { type: 'mount' }, { type: 'network' }]

/** Starts one idle bare container for `exec`; ends it on disposal. */
export const bareRuntime = async (dataFolder: string): Promise<BareRuntime> => {
  const folder = await mkdtemp('/tmp/atoll-bare-')
  const image = await largestImage(join(dataFolder, 'templates'))
  const flags = [
    `--root=${join(folder, 'state')}`,
    '--platform=systrap',
    '--network=none',
    '--ignore-cgroups',
    '--overlay2=none',
  ]
  await mkdir(join(folder, 'state'))
  await mkdir(join(folder, 'empty'))
  let counter = 0
  const bundle = async (argv: readonly string[]): Promise<{ id: string; path: string }> => {
    const id = `bare${String(counter++).padStart(6, '0')}`
    const path = join(folder, id)
    await mkdir(path)
    await writeFile(join(path, 'config.json'), JSON.stringify(specOf(argv, image, join(folder, 'empty'))))
    return { id, path }
  }
  const runsc = async (args: readonly string[]): Promise<void> => {
    const log = await open(join(folder, 'log'), 'a')
    await execute('runsc', [...flags, ...args]).finally(() => log.close())
  }
  const idle = await bundle(['sleep', '86400'])
  await runShell(flags, ['run', '--detach', '--bundle', idle.path, idle.id], folder)
  return {
    runOnce: async (argv) => {
      const { id, path } = await bundle(argv)
      await runsc(['run', '--bundle', path, id])
    },
    exec: (argv) => runsc(['exec', idle.id, ...argv]),
    checkpointed: async () => {
      const image = join(folder, 'image')
      await mkdir(image)
      await runsc(['checkpoint', '--compression=none', '--leave-running', `--image-path=${image}`, idle.id])
      const restored: string[] = []
      return {
        restore: async () => {
          const { id, path } = await bundle(['sleep', '86400'])
          restored.push(id)
          await runShell(
            flags,
            ['restore', '--detach', `--image-path=${image}`, '--bundle', path, id],
            folder,
          )
        },
        [Symbol.asyncDispose]: async () => {
          for (const id of restored) {
            await runsc(['kill', id, 'KILL']).catch(() => undefined)
            await runsc(['delete', '--force', id]).catch(() => undefined)
          }
        },
      }
    },
    [Symbol.asyncDispose]: async () => {
      await runsc(['kill', idle.id, 'KILL']).catch(() => undefined)
      await runsc(['delete', '--force', idle.id]).catch(() => undefined)
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** runsc keeps the descriptors it is started with: they must be files, not pipes of ours. */
const runShell = async (flags: readonly string[], args: readonly string[], folder: string): Promise<void> => {
  const line = ['runsc', ...flags, ...args].map((word) => `'${word}'`).join(' ')
  await execute('sh', ['-c', `exec ${line} </dev/null >'${folder}/out' 2>&1`])
}

const largestImage = async (templates: string): Promise<string> => {
  const image = (await readdir(templates, { recursive: true })).find((name) => name.endsWith('.erofs'))
  if (image === undefined) throw new Error(`no template image in ${templates}: run atoll up once`)
  return join(templates, image)
}

const specOf = (argv: readonly string[], image: string, emptyRoot: string) => ({
  ociVersion: '1.0.2',
  process: {
    terminal: false,
    user: { uid: 0, gid: 0 },
    args: argv,
    env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'HOME=/root'],
    cwd: '/',
  },
  root: { path: emptyRoot, readonly: false },
  hostname: 'bare',
  mounts: [
    { destination: '/proc', type: 'proc', source: 'proc' },
    { destination: '/dev', type: 'tmpfs', source: 'tmpfs' },
  ],
  annotations: {
    'dev.gvisor.spec.rootfs.source': image,
    'dev.gvisor.spec.rootfs.type': 'erofs',
    'dev.gvisor.spec.rootfs.overlay': 'memory',
  },
  linux: { namespaces },
})
