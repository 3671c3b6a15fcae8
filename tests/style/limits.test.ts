import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { limits, sandboxLimits } from '@atoll/protocol'
import { expect, it } from 'vitest'
import { root } from './source-files.ts'

const page = readFileSync(join(root, 'docs/reference/limits.md'), 'utf8')

it.each(Object.entries(limits))('documents %s as %i', (name, value) => {
  expect(page).toContain(`| \`${name}\` | ${value} |`)
})

it.each(Object.entries(sandboxLimits))('documents the range of %s', (name, range) => {
  const line = page.split('\n').find((text) => text.startsWith(`| \`${name}\``))
  expect(
    line
      ?.split('|')
      .slice(2, 5)
      .map((cell) => Number(cell)),
  ).toEqual([range.min, range.default, range.max])
})
