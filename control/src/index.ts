export { type Control, type ControlDeps, createControl } from './create-control.ts'
export type { Access, AccessRequest, Authorize } from './access/authorize.ts'
export type { Logger } from './context.ts'
export { type ControlLimits, controlLimits } from './limits.ts'
