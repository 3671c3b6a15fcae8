import { systemClock } from '@atoll/kit'
import { type NodeDependencies, simulatedDriver, simulatedImages } from '@atoll/node'

/** What a composition stands on: the runtimes, strongest first, and the images. */
export type Parts = Pick<NodeDependencies, 'drivers' | 'images'>

/** The whole stack in memory, for tests and for looking at the API: isolates nothing, and says so. */
export const simulatedParts = (): Parts => ({
  drivers: [simulatedDriver()],
  images: simulatedImages(systemClock),
})
