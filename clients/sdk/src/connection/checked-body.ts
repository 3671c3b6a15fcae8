import { errorFromAbort, streamBroken } from './faults.ts'

/** The bytes of an answer, pulled. A body that is cut or shorter than announced ends with `stream_broken`. */
export const checkedBody = (
  response: Response,
  act: string,
  signal: AbortSignal | undefined,
): ReadableStream<Uint8Array> => {
  const announced = response.headers.get('content-length')
  const reader = response.body?.getReader()
  let seen = 0
  return new ReadableStream<Uint8Array>({
    pull: async (controller) => {
      try {
        const { done, value } = (await reader?.read()) ?? { done: true }
        if (value !== undefined) {
          seen += value.length
          controller.enqueue(value)
        } else if (done) {
          if (announced === null || seen === Number(announced)) controller.close()
          else controller.error(streamBroken(act))
        }
      } catch (error) {
        controller.error(signal?.aborted === true ? errorFromAbort(signal, act) : streamBroken(act, error))
      }
    },
    cancel: (reason) => reader?.cancel(reason),
  })
}
