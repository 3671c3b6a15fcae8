import { styleText } from 'node:util'
import { isAtollError } from '@atoll/sdk'

/** Where a command writes: results to stdout, everything about them to stderr. */
export interface Printer {
  readonly json: boolean
  /** The result: one JSON document, or what `human` makes of it. */
  result(value: unknown, human: () => string): void
  /** One item of a stream: a JSON line, or a line for people. */
  item(value: unknown, human: () => string): void
  note(text: string): void
  error(error: unknown): void
}

/** Colour only where a terminal reads it and NO_COLOR does not forbid it: `styleText` looks at both. */
type Style = Parameters<typeof styleText>[0]
export const styled = (style: Style, text: string, stream: NodeJS.WriteStream = process.stdout): string =>
  styleText(style, text, { stream })

export const printerOf = (json: boolean): Printer => ({
  json,
  result: (value, human) => writeLine(process.stdout, json ? JSON.stringify(value, null, 2) : human()),
  item: (value, human) => writeLine(process.stdout, json ? JSON.stringify(value) : human()),
  note: (text) => {
    if (!json) process.stderr.write(`${text}\n`)
  },
  error: (error) =>
    process.stderr.write(`${json ? JSON.stringify({ error: bodyOf(error) }) : explain(error)}\n`),
})

const writeLine = (stream: NodeJS.WriteStream, text: string): void => {
  if (text !== '') stream.write(`${text}\n`)
}

const bodyOf = (error: unknown): object =>
  isAtollError(error)
    ? error.toBody()
    : { code: 'internal', message: error instanceof Error ? error.message : String(error), retryable: false }

const explain = (error: unknown): string => {
  const label = styled('red', 'atoll:', process.stderr)
  if (!isAtollError(error))
    return `${label} ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`
  const trace = error.traceId === undefined ? '' : `, trace ${error.traceId}`
  const remedy = error.remedy === undefined ? '' : `\n  ${error.remedy}`
  return `${label} ${error.message} (${error.code}${trace})${remedy}`
}
