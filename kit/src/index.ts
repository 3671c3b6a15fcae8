export * from './backoff.ts'
export * from './clock.ts'
export * from './deadline.ts'
export * from './semaphore.ts'
