import { describe, expect, it } from 'vitest'
import { wholeBody } from './whole-body.ts'

const parts = [new Uint8Array([1, 2, 3]), new Uint8Array([4]), new Uint8Array(70_000).fill(5)]
const all = Buffer.concat(parts)

/** An answer as fetch gives it, whose bytes come in parts. */
const answer = (announced: number | undefined, sent: readonly Uint8Array[] = parts): Response => {
  const left = [...sent]
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const part = left.shift()
      if (part === undefined) controller.close()
      else controller.enqueue(part)
    },
  })
  return new Response(body, {
    headers: announced === undefined ? {} : { 'content-length': String(announced) },
  })
}

describe('the bytes of an answer', () => {
  it.each([all.length, undefined])('come whole, announced as %s', async (announced) => {
    const bytes = await wholeBody(answer(announced), 'read /f', undefined)
    expect(Buffer.from(bytes).equals(all)).toBe(true)
    expect(bytes.buffer.byteLength).toBe(all.length)
  })

  it.each([0, undefined])('may be none, announced as %s', async (announced) => {
    expect(await wholeBody(answer(announced, []), 'read /f', undefined)).toHaveLength(0)
  })

  it.each([all.length + 1, all.length - 1, 2, 2 ** 40])(
    'are no answer when %i are announced',
    async (announced) => {
      const broken = { code: 'stream_broken', message: expect.stringContaining('read /f') }
      await expect(wholeBody(answer(announced), 'read /f', undefined)).rejects.toMatchObject(broken)
    },
  )
})
