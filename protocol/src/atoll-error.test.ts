import { describe, expect, it } from 'vitest'
import { AtollError, errorFromBody, maxMessageLength } from './atoll-error.ts'
import { errorCodes } from './error-codes.ts'

describe('AtollError', () => {
  it('crosses the wire and keeps what the sender knew', () => {
    const sent = new AtollError('sandbox_ended', 'cannot run true in sbx_a: it ended', {
      remedy: 'create another',
      details: { cause: 'deadline' },
    })
    const body = JSON.parse(JSON.stringify(sent.toBody('trace')))
    const got = errorFromBody(body, 410, 'run true')
    expect(got).toMatchObject({
      code: 'sandbox_ended',
      message: sent.message,
      retryable: false,
      remedy: 'create another',
      details: { cause: 'deadline' },
      traceId: 'trace',
    })
  })

  it('never claims permanence for what it does not know', () => {
    expect(errorFromBody({ code: 'new_code', message: 'x', retryable: true }, 500, 'act')).toMatchObject({
      code: 'internal',
      retryable: true,
    })
    expect(errorFromBody('<html>', 502, 'act')).toMatchObject({ code: 'internal', retryable: true })
  })

  it('keeps the cause at home and scrubs what a sandbox said', () => {
    const error = new AtollError('internal', `a\u001b[31mb\0${'x'.repeat(5_000)}`, {
      cause: new Error('secret'),
    })
    expect(JSON.stringify(error.toBody())).not.toContain('secret')
    expect(error.message).not.toContain('\u001b')
    expect(error.message).not.toContain('\0')
    expect(error.message.length).toBeLessThanOrEqual(maxMessageLength)
  })

  it('has a status and a reason for each code', () => {
    for (const { status, why } of Object.values(errorCodes)) {
      expect(status).toBeGreaterThanOrEqual(400)
      expect(why).not.toBe('')
    }
  })
})
