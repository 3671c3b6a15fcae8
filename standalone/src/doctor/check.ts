/** What a check found out. */
export interface Finding {
  readonly name: string
  /** `missing` keeps Atoll from running; `warning` makes it weaker or slower; `ok` was seen to work. */
  readonly status: 'ok' | 'warning' | 'missing'
  readonly detail: string
  /** The command or act that mends it. */
  readonly remedy?: string
}

/** One thing that is tried. It never throws: what goes wrong is its finding. */
export type Check = (signal: AbortSignal) => Promise<Finding | readonly Finding[]>

export const ok = (name: string, detail: string): Finding => ({ name, status: 'ok', detail })
export const warning = (name: string, detail: string, remedy?: string): Finding => ({
  name,
  status: 'warning',
  detail,
  ...(remedy === undefined ? {} : { remedy }),
})
export const missing = (name: string, detail: string, remedy?: string): Finding => ({
  name,
  status: 'missing',
  detail,
  ...(remedy === undefined ? {} : { remedy }),
})

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
