/** Longest delay that a timer takes: `setTimeout` with more fires at once. */
export const maxTimerMs = 2 ** 31 - 1

/** Calls back at a Unix time, however far it is: re-arms itself in steps and re-reads the clock. */
export const atTime = (unixMs: number, now: () => number, callback: () => void): Disposable => {
  let timer: NodeJS.Timeout | undefined
  const arm = (): void => {
    const left = unixMs - now()
    timer = setTimeout(left > maxTimerMs ? arm : fire, Math.max(0, Math.min(left, maxTimerMs)))
    timer.unref()
  }
  const fire = (): void => {
    if (unixMs - now() > 0) arm()
    else callback()
  }
  arm()
  return { [Symbol.dispose]: () => clearTimeout(timer) }
}
