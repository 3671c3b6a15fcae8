import { readFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  importsOf,
  isTest,
  packageOf,
  resolveRelative,
  root,
  sourceFiles,
  trackedFiles,
} from './source-files.ts'

const files = sourceFiles().filter((path) => /\.tsx?$/.test(path))
const production = files.filter((path) => !isTest(path))

describe('imports point one way', () => {
  it('keeps the table of ARCHITECTURE.md', () => {
    const wrong = production.flatMap((path) => {
      const owner = packageOf(path)
      if (owner === undefined || owner.mayImport === 'anything') return []
      const allowed = owner.mayImport
      return importsOf(path)
        .filter((specifier) => specifier.startsWith('@atoll/'))
        .filter((specifier) => !allowed.includes(specifier))
        .map((specifier) => `${path} imports ${specifier}`)
    })
    expect(wrong).toEqual([])
  })

  it('never leaves a package by a relative path', () => {
    const wrong = production.flatMap((path) =>
      importsOf(path)
        .filter((specifier) => specifier.startsWith('.'))
        .filter(
          (specifier) =>
            packageOf(path)?.mayImport !== 'anything' &&
            packageOf(resolveRelative(path, specifier)) !== packageOf(path),
        )
        .map((specifier) => `${path} imports ${specifier}`),
    )
    expect(wrong).toEqual([])
  })

  it('has sibling drivers that do not know each other', () => {
    const wrong = production
      .filter((path) => path.startsWith('node/src/runtimes/'))
      .flatMap((path) => {
        const own = path.split('/')[3] ?? ''
        return importsOf(path)
          .filter((specifier) => specifier.startsWith('.'))
          .map((specifier) => resolveRelative(path, specifier))
          .filter((target) => /^node\/src\/runtimes\/[a-z]+\//.test(target) && target.split('/')[3] !== own)
          .map((target) => `${path} imports ${target}`)
      })
    expect(wrong).toEqual([])
  })

  it('runs host tools only from node/src/host and the composition root', () => {
    const wrong = production
      .filter(
        (path) =>
          /^(control|gateway|protocol|kit|clients\/sdk|node\/src)\//.test(path) &&
          !path.startsWith('node/src/host/'),
      )
      .filter((path) =>
        importsOf(path).some((specifier) => ['node:child_process', 'execa'].includes(specifier)),
      )
    expect(wrong).toEqual([])
  })

  it('has no cycle', () => {
    const graph = new Map(
      production.map((path) => [
        path,
        importsOf(path)
          .filter((s) => s.startsWith('.'))
          .map((s) => resolveRelative(path, s)),
      ]),
    )
    expect(findCycle(graph)).toEqual([])
  })

  it('declares what it imports', () => {
    const wrong = production.flatMap((path) => {
      const owner = packageOf(path)
      if (owner === undefined || owner.mayImport === 'anything') return []
      const manifest: unknown = JSON.parse(readFileSync(join(root, owner.folder, 'package.json'), 'utf8'))
      const declared = new Set(declaredIn(manifest))
      return importsOf(path)
        .filter(
          (specifier) =>
            !specifier.startsWith('.') &&
            !specifier.startsWith('node:') &&
            !builtinModules.includes(specifier),
        )
        .map((specifier) =>
          specifier
            .split('/')
            .slice(0, specifier.startsWith('@') ? 2 : 1)
            .join('/'),
        )
        .filter((name) => !declared.has(name))
        .map((name) => `${path} imports ${name}, which ${owner.folder}/package.json does not declare`)
    })
    expect(wrong).toEqual([])
  })

  it('pins every version exactly', () => {
    const wrong = trackedFiles()
      .filter((path) => path.endsWith('package.json'))
      .flatMap((path) => {
        const manifest: unknown = JSON.parse(readFileSync(join(root, path), 'utf8'))
        return versionsIn(manifest)
          .filter(
            ([name, version]) => !name.startsWith('@types/') && !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version),
          )
          .map(([name, version]) => `${path}: ${name} ${version}`)
      })
    expect(wrong).toEqual([])
  })
})

const sections = ['dependencies', 'devDependencies', 'optionalDependencies', 'peerDependencies'] as const
const versionsIn = (manifest: unknown): [string, string][] =>
  sections.flatMap((section) =>
    Object.entries((manifest as Record<string, Record<string, string> | undefined>)[section] ?? {}),
  )
const declaredIn = (manifest: unknown): string[] => versionsIn(manifest).map(([name]) => name)

const findCycle = (graph: ReadonlyMap<string, readonly string[]>): string[] => {
  const done = new Set<string>()
  const walk = (path: string, trail: readonly string[]): string[] => {
    if (trail.includes(path)) return [...trail.slice(trail.indexOf(path)), path]
    if (done.has(path)) return []
    for (const next of graph.get(path) ?? []) {
      const cycle = walk(next, [...trail, path])
      if (cycle.length > 0) return cycle
    }
    done.add(path)
    return []
  }
  for (const path of graph.keys()) {
    const cycle = walk(path, [])
    if (cycle.length > 0) return cycle
  }
  return []
}
