import type { Row } from './measure.ts'

const barHeight = 22
const gap = 10
const labelWidth = 380
const plotWidth = 420
const valueWidth = 190

/** Rows of one benchmark as a picture: a bar to the median, a whisker to the 95th percentile; one scale per unit. */
export const plot = (title: string, rows: readonly Row[]): string => {
  const largest = new Map<string, number>()
  for (const { unit, p95 } of rows) largest.set(unit, Math.max(largest.get(unit) ?? 0, p95))
  const height = 50 + rows.length * (barHeight + gap)
  const bars = rows.map((row, index) => bar(row, 44 + index * (barHeight + gap), largest.get(row.unit) ?? 1))
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${labelWidth + plotWidth + valueWidth}" height="${height}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="12" y="24" font-size="14" font-weight="bold">${escaped(title)}</text>
${bars.join('\n')}
</svg>
`
}

const bar = ({ name, unit, median, p95, ratio }: Row, top: number, largest: number): string => {
  const scale = (value: number): number => Math.round((value / (largest || 1)) * plotWidth * 10) / 10
  const middle = top + barHeight / 2
  const times = ratio === null ? '' : ` (${ratio}×)`
  return [
    `<text x="${labelWidth - 8}" y="${middle + 4}" text-anchor="end">${escaped(name)}</text>`,
    `<rect x="${labelWidth}" y="${top}" width="${scale(median)}" height="${barHeight}" fill="#2a9d8f"/>`,
    `<line x1="${labelWidth + scale(median)}" x2="${labelWidth + scale(p95)}" y1="${middle}" y2="${middle}" stroke="#1d3557"/>`,
    `<text x="${labelWidth + scale(p95) + 6}" y="${middle + 4}">${median} ${unit}${times}</text>`,
  ].join('\n')
}

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
