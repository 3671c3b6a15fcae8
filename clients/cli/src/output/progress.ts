import { spinner } from '@clack/prompts'

export interface Progress extends Disposable {
  say(text: string): void
}

/** A spinner on a terminal; silence where nobody watches, so that logs hold results only. */
export const progress = (text: string, quiet: boolean): Progress => {
  if (quiet || process.stderr.isTTY !== true)
    return { say: () => undefined, [Symbol.dispose]: () => undefined }
  const shown = spinner({ output: process.stderr })
  shown.start(text)
  return { say: (now) => shown.message(now), [Symbol.dispose]: () => shown.clear() }
}
