/** A /proc/meminfo for a machine of this size. */
export const meminfoOf = (totalBytes: number): string => {
  const total = Math.floor(totalBytes / 1_024)
  const lines: [string, number][] = [
    ['MemTotal', total],
    ['MemFree', total],
    ['MemAvailable', total],
    ['Buffers', 0],
    ['Cached', 0],
    ['SwapCached', 0],
    ['SwapTotal', 0],
    ['SwapFree', 0],
  ]
  return lines.map(([name, kib]) => `${`${name}:`.padEnd(16)}${String(kib).padStart(8)} kB\n`).join('')
}
