import { styleText } from 'node:util'
import type { Finding } from './check.ts'

const marks = { ok: ['green', 'ok'], warning: ['yellow', 'warning'], missing: ['red', 'missing'] } as const

/** One line a finding, and below it what mends it. */
export const describe = (findings: readonly Finding[]): string => {
  const width = Math.max(...findings.map(({ name }) => name.length))
  return findings
    .map(({ name, status, detail, remedy }) => {
      const [colour, word] = marks[status]
      const mark = styleText(colour, word.padEnd(7), { stream: process.stdout })
      const mend = remedy === undefined || status === 'ok' ? '' : `\n${' '.repeat(9)}mend: ${remedy}`
      return `${mark}  ${name.padEnd(width)}  ${detail}${mend}`
    })
    .join('\n')
}

export const verdictOf = (findings: readonly Finding[]): string => {
  const [missing, warnings] = (['missing', 'warning'] as const).map(
    (status) => findings.filter((finding) => finding.status === status).length,
  )
  if (missing === 0 && warnings === 0) return 'all is well'
  return missing === 0
    ? `ready, with ${warnings} warnings`
    : `not ready: ${missing} missing, ${warnings} warnings`
}
