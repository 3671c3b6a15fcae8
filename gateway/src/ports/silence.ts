/** Cuts something when nothing was seen of it for a time. */
export const silenceTimer = (silenceMs: number, cut: () => void): { seen(): void } & Disposable => {
  const timer = setTimeout(cut, silenceMs)
  timer.unref()
  return { seen: () => void timer.refresh(), [Symbol.dispose]: () => clearTimeout(timer) }
}
