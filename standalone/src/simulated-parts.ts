import { systemClock } from '@atoll/kit'
import { type NodeDependencies, simulatedDriver, simulatedImages } from '@atoll/node'

/** What a composition stands on: the runtimes, strongest first, the images, and what is kept warm. */
export type Parts = Pick<NodeDependencies, 'drivers' | 'images' | 'options'>

/** The whole stack in memory, for tests and for looking at the API: isolates nothing, and says so. */
export const simulatedParts = (): Parts => ({
  drivers: [simulatedDriver()],
  images: simulatedImages(systemClock),
})
