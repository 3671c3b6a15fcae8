import type { CpuWeight } from '../runtimes/driver.ts'

/** Weights as cgroup2 counts them. At 3 to 100 a filling pool takes 3 % of a CPU that a sandbox wants whole. */
const weights = { normal: 100, background: 3 } as const satisfies Record<CpuWeight, number>

/** The weight for a cgroup. */
export const cpuWeightOf = (weight: CpuWeight | undefined): number => weights[weight ?? 'normal']
