import { readFile } from 'node:fs/promises'

/** What saved memory depends on: programs chose their instructions by it, and gVisor its layout of registers. */
export interface CpuFingerprint {
  readonly vendor: string
  readonly family: string
  readonly model: string
  /** Instruction sets that a program may use, sorted. */
  readonly flags: readonly string[]
}

/** Flags that CPUID shows to programs; what the kernel adds of its own (mitigations, counters) changes nothing inside. */
const instructionSets =
  /^(mmx|fxsr|sse\w*|ssse3|avx\w*|aes|vaes|pclmulqdq|vpclmulqdq|gfni|sha_ni|sha512|bmi[12]|fma|f16c|popcnt|abm|movbe|adx|rdrand|rdseed|xsave\w*|osxsave|clflush\w*|clwb|erms|fsrm|fsgsbase|rdtscp|rdpid|cx16|lahf_lm|amx_\w+|tsc|pku|ospke|movdir\w+|serialize|waitpkg|shstk|user_shstk|xtopology|rtm|hle)$/

/** The CPU of this host. */
export const readCpuFingerprint = async (): Promise<CpuFingerprint> =>
  cpuFingerprintOf(await readFile('/proc/cpuinfo', 'latin1'))

/** The first CPU of a /proc/cpuinfo: a host of several kinds runs them as the least of them. */
export const cpuFingerprintOf = (cpuinfo: string): CpuFingerprint => {
  const field = (name: string): string =>
    new RegExp(`^${name}\\s*: (.*)$`, 'm').exec(cpuinfo)?.[1]?.trim() ?? 'unknown'
  return {
    vendor: field('vendor_id'),
    family: field('cpu family'),
    model: field('model'),
    flags: field('flags')
      .split(' ')
      .filter((flag) => instructionSets.test(flag))
      .toSorted(),
  }
}

/** Why memory saved on `saved` cannot be restored on `host`; undefined when it can. */
export const cpuMismatch = (saved: CpuFingerprint, host: CpuFingerprint): string | undefined => {
  for (const name of ['vendor', 'family', 'model'] as const)
    if (saved[name] !== host[name]) return `CPU ${name} ${saved[name]}, this host has ${host[name]}`
  const missing = saved.flags.filter((flag) => !host.flags.includes(flag))
  if (missing.length > 0) return `a CPU with ${missing.join(', ')}, which this host lacks`
  return undefined
}
