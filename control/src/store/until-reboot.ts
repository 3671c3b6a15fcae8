import { AsyncLocalStorage } from 'node:async_hooks'

const relaxed = new AsyncLocalStorage<true>()

/**
 * Commits of this work outlive the process and not, by themselves, a power cut: no fsync, of which each costs
 * milliseconds. For what a later durable commit brings along (SQLite's log keeps the order), or what can be read
 * anew elsewhere. Never for the effect itself that an answer tells.
 */
export const untilReboot = <Result>(work: () => Promise<Result>): Promise<Result> => relaxed.run(true, work)

/** True inside of such work. */
export const isUntilReboot = (): boolean => relaxed.getStore() === true
