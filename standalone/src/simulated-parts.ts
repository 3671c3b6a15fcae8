import { systemClock } from '@atoll/kit'
import { type Images, type RuntimeDriver, simulatedDriver, simulatedImages } from '@atoll/node'

/** What a composition stands on: the runtimes, strongest first, and the images. */
export interface Parts {
  readonly drivers: readonly RuntimeDriver[]
  readonly images: Images
}

/** The whole stack in memory, for tests and for looking at the API: isolates nothing, and says so. */
export const simulatedParts = (): Parts => ({
  drivers: [simulatedDriver()],
  images: simulatedImages(systemClock),
})
