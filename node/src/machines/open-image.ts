import type { Context } from './context.ts'
import type { Runtime } from './runtimes.ts'

/** `simulated` needs no file; every other runtime gets a verified one. */
export const openImage = async (
  context: Context,
  { driver }: Runtime,
  imageDigest: string,
  signal: AbortSignal,
): Promise<string> =>
  driver.name === 'simulated' ? '' : (await context.images.open(imageDigest, signal)).path
