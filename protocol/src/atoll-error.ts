import { z } from 'zod'
import { type ErrorCode, errorCodes, isErrorCode } from './error-codes.ts'

/** Longest message that an error carries, in UTF-16 units: text from a sandbox may be in it. */
export const maxMessageLength = 2_048

/** The envelope of every error on the wire. */
export const errorBodySchema = z.object({
  code: z.string(),
  message: z.string(),
  retryable: z.boolean(),
  cause: z.string().optional(),
  remedy: z.string().optional(),
  sandboxState: z.string().optional(),
  details: z.record(z.string(), z.unknown()).optional(),
  traceId: z.string().optional(),
})

/** What an error says on the wire: `{ code, message, retryable, cause?, remedy?, sandboxState?, details?, traceId? }`. */
export type ErrorBody = z.infer<typeof errorBodySchema>

interface ErrorExtras {
  readonly cause?: unknown
  readonly remedy?: string
  readonly sandboxState?: string
  readonly details?: Readonly<Record<string, unknown>>
  readonly traceId?: string
  readonly retryable?: boolean
}

/** The one error of Atoll. Its message names the act, the operand and the next step. */
export class AtollError extends Error {
  override readonly name = 'AtollError'
  readonly code: ErrorCode
  readonly retryable: boolean
  readonly remedy: string | undefined
  readonly sandboxState: string | undefined
  readonly details: Readonly<Record<string, unknown>> | undefined
  readonly traceId: string | undefined

  constructor(code: ErrorCode, message: string, extras: ErrorExtras = {}) {
    super(scrub(message), extras.cause === undefined ? undefined : { cause: extras.cause })
    this.code = code
    this.retryable = extras.retryable ?? errorCodes[code].retryable
    this.remedy = extras.remedy
    this.sandboxState = extras.sandboxState
    this.details = extras.details
    this.traceId = extras.traceId
  }

  /** HTTP status of the code. */
  get status(): number {
    return errorCodes[this.code].status
  }

  /** The wire form. The JavaScript cause stays behind: it may hold what no client should see. */
  toBody(traceId?: string): ErrorBody {
    const trace = this.traceId ?? traceId
    return {
      code: this.code,
      message: this.message,
      retryable: this.retryable,
      ...(this.remedy === undefined ? {} : { remedy: this.remedy }),
      ...(this.sandboxState === undefined ? {} : { sandboxState: this.sandboxState }),
      ...(this.details === undefined ? {} : { details: { ...this.details } }),
      ...(trace === undefined ? {} : { traceId: trace }),
    }
  }
}

/** Reads an error from the wire. An unknown code means "may help later": permanence has to be claimed. */
export const errorFromBody = (body: unknown, status: number, act: string): AtollError => {
  const parsed = errorBodySchema.partial({ retryable: true }).safeParse(body)
  if (!parsed.success) return new AtollError('internal', `${act}: answered ${status} with no readable error`)
  const { code, message, remedy, sandboxState, details, traceId, retryable } = parsed.data
  return new AtollError(isErrorCode(code) ? code : 'internal', message, {
    ...(remedy === undefined ? {} : { remedy }),
    ...(sandboxState === undefined ? {} : { sandboxState }),
    ...(details === undefined ? {} : { details }),
    ...(traceId === undefined ? {} : { traceId }),
    ...(retryable === undefined ? {} : { retryable }),
  })
}

/** Text that came out of a sandbox is data: control characters go, and the length has a limit. */
export const scrub = (text: string): string => {
  const clean = text.replace(/\p{Cc}/gu, (character) => (/[\n\t]/.test(character) ? character : '\ufffd'))
  return clean.length > maxMessageLength ? `${clean.slice(0, maxMessageLength - 1)}…` : clean
}
