import type { Row } from './measure.ts'

const columns = ['name', 'unit', 'n', 'median', 'p95', 'p99', 'ratio', 'baseline'] as const

/** Rows as a table for people. */
export const table = (rows: readonly Row[]): string => {
  const cells = [
    columns.map(String),
    ...rows.map((row) => columns.map((column) => String(row[column] ?? ''))),
  ]
  const widths = columns.map((_, index) => Math.max(...cells.map((line) => line[index]?.length ?? 0)))
  return cells
    .map((line) =>
      line
        .map((cell, index) => cell.padEnd(widths[index] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
