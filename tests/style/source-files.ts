import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The top of the checkout. */
export const root = fileURLToPath(new URL('../..', import.meta.url))

/** Every file that git knows or would add, relative to the root. */
export const trackedFiles = (): string[] =>
  execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8',
  })
    .split('\n')
    .filter((path) => path !== '' && existsSync(join(root, path)))

/** Source files of ours: TypeScript and Rust, tests told apart by the caller. */
export const sourceFiles = (): string[] => trackedFiles().filter((path) => /\.(ts|tsx|rs)$/.test(path))

/** Lines of one file. */
export const linesOf = (path: string): string[] => readFileSync(join(root, path), 'utf8').split('\n')

/** The specifiers that a TypeScript file imports or re-exports, types included. */
export const importsOf = (path: string): string[] => {
  const text = readFileSync(join(root, path), 'utf8')
  const pattern =
    /^\s*(?:import|export)\s[^'"]*?from\s+['"]([^'"]+)['"]|^\s*import\s+['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)/gm
  return [...text.matchAll(pattern)]
    .map((match) => match[1] ?? match[2] ?? match[3] ?? '')
    .filter((specifier) => specifier !== '')
}

/** The file that a relative specifier names, relative to the root. */
export const resolveRelative = (from: string, specifier: string): string =>
  normalize(join(dirname(from), specifier))

/** Packages of the workspace by folder, longest folder first. */
export const packages: readonly {
  folder: string
  name: string
  mayImport: readonly string[] | 'anything'
}[] = [
  { folder: 'clients/sdk', name: '@atoll/sdk', mayImport: ['@atoll/protocol'] },
  { folder: 'clients/cli', name: '@atoll/cli', mayImport: ['@atoll/sdk'] },
  {
    folder: 'standalone',
    name: '@atoll/standalone',
    mayImport: [
      '@atoll/control',
      '@atoll/gateway',
      '@atoll/node',
      '@atoll/sdk',
      '@atoll/protocol',
      '@atoll/kit',
    ],
  },
  { folder: 'protocol', name: '@atoll/protocol', mayImport: ['@atoll/kit'] },
  { folder: 'examples', name: '@atoll/examples', mayImport: 'anything' },
  { folder: 'control', name: '@atoll/control', mayImport: ['@atoll/protocol', '@atoll/kit'] },
  { folder: 'gateway', name: '@atoll/gateway', mayImport: ['@atoll/protocol', '@atoll/kit'] },
  { folder: 'tests', name: '@atoll/tests', mayImport: 'anything' },
  { folder: 'bench', name: '@atoll/bench', mayImport: 'anything' },
  { folder: 'node', name: '@atoll/node', mayImport: ['@atoll/protocol', '@atoll/kit'] },
  { folder: 'kit', name: '@atoll/kit', mayImport: [] },
]

/** The package that a file belongs to. */
export const packageOf = (path: string) =>
  packages.find((candidate) => path.startsWith(`${candidate.folder}/`))

/** Tests may reach for anything that they drive. */
export const isTest = (path: string): boolean =>
  path.endsWith('.test.ts') ||
  path.startsWith('tests/') ||
  /(^|\/)tests?\//.test(path) ||
  /(^|\/)test-[a-z-]+\.ts$/.test(path) ||
  path.endsWith('conformance.ts')
