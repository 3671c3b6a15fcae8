/** One line of a report: times and sizes as medians, and a ratio against a baseline of the same run. */
export interface Row {
  readonly name: string
  readonly unit: 'ms' | 'MiB/s' | 'MiB' | 'percent'
  readonly n: number
  readonly median: number
  readonly p95: number
  readonly p99: number
  /** Name of the row that this one is held against. */
  readonly baseline: string | null
  /** median / median of the baseline. */
  readonly ratio: number | null
}

/** A benchmark prints rows; the first is usually the baseline. */
export interface Benchmark {
  readonly name: string
  readonly about: string
  /** Machines that the daemon shall keep ready; its default where not given. */
  readonly pool?: number
  run(context: BenchContext): Promise<readonly Row[]>
}

export interface BenchContext {
  readonly url: string
  readonly apiKey: string
  /** Data folder of the stack under test: its images and its sandboxes' records. */
  readonly dataFolder: string
  /** Pid of the daemon. */
  readonly pid: number
  /** How many samples each row takes. */
  readonly samples: number
  readonly log: (line: string) => void
}

const quantile = (sorted: readonly number[], part: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN

/** A row from raw samples. */
export const row = (name: string, unit: Row['unit'], samples: readonly number[], baseline?: Row): Row => {
  if (samples.length === 0) throw new RangeError(`cannot report ${name}: no samples`)
  const sorted = samples.toSorted((left, right) => left - right)
  const median = quantile(sorted, 0.5)
  return {
    name,
    unit,
    n: sorted.length,
    median: rounded(median),
    p95: rounded(quantile(sorted, 0.95)),
    p99: rounded(quantile(sorted, 0.99)),
    baseline: baseline?.name ?? null,
    ratio: baseline === undefined ? null : rounded(median / baseline.median),
  }
}

/** Milliseconds that an act takes. */
export const timed = async (act: () => Promise<unknown>): Promise<number> => {
  const start = performance.now()
  await act()
  return performance.now() - start
}

/** Several acts in turn (A B A B …), so that a drift of the machine meets all alike. One warm-up each. */
export const interleaved = async (
  samples: number,
  acts: readonly (() => Promise<number>)[],
): Promise<number[][]> => {
  const results: number[][] = acts.map(() => [])
  for (let round = -1; round < samples; round++) {
    for (const [index, act] of acts.entries()) {
      const value = await act()
      if (round >= 0) results[index]?.push(value)
    }
  }
  return results
}

const rounded = (value: number): number => Number(value.toPrecision(4))
