import type { Clock } from '@atoll/kit'
import { AtollError, type Isolation, type NodeInfo, type RuntimeName } from '@atoll/protocol'
import type { Capabilities, RuntimeDriver } from '../runtimes/driver.ts'
import { machineLimits } from './limits.ts'
import type { Logger } from './ports.ts'

/** A driver with what it was seen to do on this host. */
export interface Runtime {
  readonly driver: RuntimeDriver
  readonly capabilities: Capabilities
}
export type Runtimes = ReturnType<typeof runtimeChoice>

const strengths = { strong: 0, weak: 1, none: 2 } as const

/** Probes the drivers in the background and chooses among them (invariant 11). */
export const runtimeChoice = (
  drivers: readonly RuntimeDriver[],
  deps: { readonly clock: Clock; readonly logger: Logger; readonly closing: AbortSignal },
) => {
  const probes = new Map<RuntimeName, { atMs: number; runtime: Promise<Runtime> }>()
  const probe = (driver: RuntimeDriver): Promise<Runtime> => {
    const runtime = probeDriver(driver, deps)
    probes.set(driver.name, { atMs: deps.clock.monotonic(), runtime })
    return runtime
  }
  const probed = (driver: RuntimeDriver): Promise<Runtime> =>
    probes.get(driver.name)?.runtime ?? probe(driver)
  const all = async (): Promise<Runtime[]> => {
    const runtimes = await Promise.all(drivers.map(probed))
    return runtimes.toSorted((left, right) => rank(left) - rank(right))
  }
  /** Asked by name after a while, an unavailable runtime is probed anew: the operator may have mended it. */
  const named = async (name: RuntimeName): Promise<Runtime> => {
    const driver = drivers.find((candidate) => candidate.name === name)
    if (driver === undefined)
      throw new AtollError(
        'runtime_unavailable',
        `cannot use runtime ${name}: this node has no driver for it`,
        {
          remedy: `use one of ${drivers.map((candidate) => candidate.name).join(', ')}`,
        },
      )
    const last = probes.get(name)
    const runtime = await probed(driver)
    if (runtime.capabilities.available || last === undefined) return runtime
    return deps.clock.monotonic() - last.atMs < machineLimits.reprobeAfterMs ? runtime : await probe(driver)
  }
  return {
    /** Begins all probes; the first create waits for them, the start of the daemon does not. */
    begin: (): void => {
      for (const driver of drivers) void probe(driver)
    },
    /** The driver of a record; without waiting for its probe. */
    driver: (name: RuntimeName): RuntimeDriver | undefined =>
      drivers.find((candidate) => candidate.name === name),
    choose: async (name: RuntimeName | null): Promise<Runtime> => {
      const runtime = name === null ? (await all()).find(isDefaultable) : await named(name)
      if (runtime?.capabilities.available === true) return runtime
      throw unavailable(name, runtime === undefined ? await all() : [runtime])
    },
    capabilities: async (name: RuntimeName): Promise<Capabilities> => (await named(name)).capabilities,
    /** Strongest available first. */
    list: async (): Promise<NodeInfo['runtimes']> =>
      (await all()).map((runtime) => ({
        ...isolationOf(runtime),
        available: runtime.capabilities.available,
        ...runtime.capabilities.unavailable,
      })),
  }
}

const isDefaultable = ({ capabilities }: Runtime): boolean =>
  capabilities.available && capabilities.strength !== 'none'

const rank = ({ capabilities }: Runtime): number =>
  strengths[capabilities.strength] + (capabilities.available ? 0 : 10)

/** The isolation in force, as every answer shows it. */
export const isolationOf = ({ driver, capabilities }: Runtime): Isolation => ({
  runtime: driver.name,
  version: capabilities.version,
  strength: capabilities.strength,
  description: capabilities.isolation,
  notes: [...capabilities.notes],
})

const unavailable = (name: RuntimeName | null, runtimes: readonly Runtime[]): AtollError => {
  const why = runtimes
    .filter(({ capabilities }) => !capabilities.available)
    .map(({ driver, capabilities }) => `${driver.name}: ${capabilities.unavailable?.reason ?? 'unavailable'}`)
  const remedy = runtimes.map(({ capabilities }) => capabilities.unavailable?.remedy).find(Boolean)
  return new AtollError(
    'runtime_unavailable',
    `cannot use ${name === null ? 'any runtime' : `runtime ${name}`}: ${why.join('; ') || 'this node has none that isolates'}`,
    { remedy: remedy ?? 'run `atoll doctor`' },
  )
}

const probeDriver = async (
  driver: RuntimeDriver,
  deps: { readonly logger: Logger; readonly closing: AbortSignal },
): Promise<Runtime> => {
  try {
    const signal = AbortSignal.any([deps.closing, AbortSignal.timeout(machineLimits.runtimeProbeMs)])
    return { driver, capabilities: await driver.probe(signal) }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    deps.logger.warn({ runtime: driver.name, err: error }, 'the probe of a runtime failed')
    return { driver, capabilities: failedProbe(reason) }
  }
}

const failedProbe = (reason: string): Capabilities => ({
  available: false,
  unavailable: { reason: `its probe failed: ${reason}`, remedy: 'run `atoll doctor`' },
  version: 'unknown',
  isolation: 'unknown',
  strength: 'none',
  memorySnapshot: false,
  diskStop: false,
  diskSnapshot: 'none',
  freeze: false,
  resize: false,
  limits: { cpu: 'none', memory: 'none', processes: 'none', disk: 'none', openFiles: 'none' },
  notes: [],
})
