export { compose, type Composition, type Running } from './compose.ts'
export { simulatedParts } from './simulated-parts.ts'
