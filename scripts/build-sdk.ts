import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { execFile } from 'node:child_process'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { rolldown } from 'rolldown'

/** Builds dist/: one file of JavaScript for every platform with `fetch`, and its declarations. */
const root = fileURLToPath(new URL('..', import.meta.url))
const folder = join(root, 'clients/sdk')
const dist = join(folder, 'dist')

const bundle = async (): Promise<void> => {
  // `neutral`: nothing of Node may slip in, so that browsers, Bun and Deno take the same file.
  const built = await rolldown({
    input: join(folder, 'src/index.ts'),
    platform: 'neutral',
    treeshake: { moduleSideEffects: false },
    resolve: { mainFields: ['module', 'main'] },
  })
  await built.write({ file: join(dist, 'index.js'), format: 'esm', codeSplitting: false })
  await built.close()
  const text = await readFile(join(dist, 'index.js'), 'utf8')
  if (/from\s*["']/.test(text)) throw new Error('dist/index.js imports something: it has to stand alone')
}

/** Declarations of the SDK and of what it shows of kit and protocol, with relative imports between them. */
const declare = async (): Promise<void> => {
  const types = join(dist, 'types')
  const options = [
    '--noEmit',
    'false',
    '--declaration',
    '--emitDeclarationOnly',
    '--allowImportingTsExtensions',
  ]
  const config = join(dist, 'tsconfig.json')
  await mkdir(dist, { recursive: true })
  const inherited = {
    extends: join(root, 'tsconfig.json'),
    include: [join(folder, 'src')],
    exclude: ['**/*.test.ts'],
  }
  await writeFile(config, JSON.stringify(inherited))
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  await promisify(execFile)(process.execPath, [
    tsc,
    '-p',
    config,
    ...options,
    '--rootDir',
    root,
    '--outDir',
    types,
  ])
  await rm(config)
  for (const name of await readdir(types, { recursive: true }))
    if (name.endsWith('.d.ts')) await relink(types, join(types, name))
  const entry = `export * from './types/${relative(root, folder)}/src/index.d.ts'\n`
  await writeFile(join(dist, 'index.d.ts'), entry)
}

const relink = async (types: string, path: string): Promise<void> => {
  const up = relative(dirname(path), types)
  const text = await readFile(path, 'utf8')
  const linked = text
    .replace(
      /(['"])@atoll\/(protocol|kit)\1/g,
      (_all, quote: string, name: string) => `${quote}${up}/${name}/src/index.d.ts${quote}`,
    )
    .replace(/(from\s*['"]\.[^'"]*)\.ts(['"])/g, (all, head: string, tail: string) =>
      head.endsWith('.d') ? all : `${head}.d.ts${tail}`,
    )
  await writeFile(path, linked)
}

await rm(dist, { recursive: true, force: true })
await bundle()
await declare()
await cp(join(root, 'LICENSE'), join(dist, 'LICENSE')).catch(() => undefined)
process.stdout.write(
  `${relative(root, dist)}/index.js: ${(await readFile(join(dist, 'index.js'))).length} bytes\n`,
)
