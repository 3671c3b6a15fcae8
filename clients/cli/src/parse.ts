import { InvalidArgumentError } from 'commander'

const unitsMs = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** `500ms`, `30s`, `5m`, `2h`, `1d`; a bare number is seconds. In ms. */
export const parseDuration = (text: string): number => {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)?$/.exec(text)
  if (match?.[1] === undefined) throw new InvalidArgumentError('give a duration like 30s, 5m or 2h')
  return Math.round(Number(match[1]) * unitsMs[(match[2] ?? 's') as keyof typeof unitsMs])
}

/** `512`, `512M`, `2G`: in MiB. */
export const parseMib = (text: string): number => {
  const match = /^(\d+(?:\.\d+)?)([MG])?(?:i?B)?$/i.exec(text)
  if (match?.[1] === undefined) throw new InvalidArgumentError('give a size like 512M or 2G')
  return Math.round(Number(match[1]) * (match[2]?.toUpperCase() === 'G' ? 1024 : 1))
}

/** `0.5`, `2`: CPUs, in thousandths. */
export const parseCpu = (text: string): number => {
  const cpus = Number(text)
  if (!Number.isFinite(cpus) || cpus <= 0)
    throw new InvalidArgumentError('give a number of CPUs like 0.5 or 2')
  return Math.round(cpus * 1_000)
}

/** Gathers `NAME=value` of a repeated option. A bare NAME takes its value from the environment here. */
export const parsePair = (
  text: string,
  before: Readonly<Record<string, string>> = {},
): Record<string, string> => {
  const at = text.indexOf('=')
  const name = at === -1 ? text : text.slice(0, at)
  const value = at === -1 ? process.env[name] : text.slice(at + 1)
  if (name === '') throw new InvalidArgumentError('give NAME=value')
  if (value === undefined) throw new InvalidArgumentError(`${name} is not set here: give ${name}=value`)
  return { ...before, [name]: value }
}

/** A whole number from 1. */
export const parseCount = (text: string): number => {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('give a whole number from 1')
  return Number(text)
}

/** Gathers a repeated option. */
export const gather = (text: string, before: readonly string[] = []): string[] => [...before, text]
