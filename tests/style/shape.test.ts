import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { isTest, linesOf, root, sourceFiles, trackedFiles } from './source-files.ts'

/** style.md rule 2: past this a file is split by verb. */
const maxLines = 300
const forbiddenNames = /(^|\/)(utils?|helpers?|common|misc|types|manager|service|sandbox-manager)\.(ts|rs)$/

/** A registry's or mirror's host has no place in the repository: scripts take it from the machine's configuration. */
const hosts = new RegExp(
  ['deb\\.debian\\.org', 'registry\\.npmjs', 'crates\\.io/api', 'pypi\\.org/simple', 'proxy\\.golang'].join(
    '|',
  ),
)

const files = sourceFiles()
const production = files.filter((path) => !isTest(path))

describe('shape', () => {
  it(`keeps source files at ${maxLines} lines at most`, () => {
    const long = production
      .map((path) => ({ path, lines: linesOf(path).length - 1 }))
      .filter(({ lines }) => lines > maxLines)
    expect(long).toEqual([])
  })

  it('names files after a verb or one concept', () => {
    expect(files.filter((path) => forbiddenNames.test(path) && !path.startsWith('protocol/'))).toEqual([])
    expect(
      files.filter((path) => /\.tsx?$/.test(path) && !/^[a-z0-9.-]+$/.test(path.split('/').at(-1) ?? '')),
    ).toEqual([])
  })

  it('has no any, no default export and no non-null assertion outside tests', () => {
    const wrong = production
      .filter((path) => path.endsWith('.ts'))
      .flatMap((path) =>
        linesOf(path)
          .map((line, index) => ({ line, at: `${path}:${index + 1}` }))
          .filter(
            ({ line }) =>
              /(:|<|as) any\b|^export default |[\w)\]]![.;,)\]]/.test(line) &&
              !/^\s*(\/\/|\*|\/\*)/.test(line) &&
              !/config\.ts:/.test(path),
          )
          .map(({ at, line }) => `${at} ${line.trim()}`),
      )
    expect(wrong.filter((entry) => !entry.startsWith('vitest.config.ts'))).toEqual([])
  })

  it('names no registry host', () => {
    const text = trackedFiles().filter(
      (path) =>
        !/package-lock\.json$|Cargo\.lock$|\.(png|csv|svg)$/.test(path) &&
        path !== 'tests/style/shape.test.ts',
    )
    expect(text.filter((path) => hosts.test(readFileSync(join(root, path), 'utf8')))).toEqual([])
  })

  it('leaves no to-do and no focused test', () => {
    const marks = files
      .filter((path) => path !== 'tests/style/shape.test.ts')
      .flatMap((path) => linesOf(path).map((line, index) => ({ line, at: `${path}:${index + 1}` })))
      .filter(({ line }) => /\b(TODO|FIXME|HACK)\b|\b(it|test|describe)\.(only|todo)\b/.test(line))
      .map(({ at }) => at)
    expect(marks).toEqual([])
  })
})
