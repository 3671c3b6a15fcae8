export { createGateway, type Gateway, type GatewayOptions } from './create-gateway.ts'
export type { Access, AccessRequest } from './call.ts'
export { type GatewayLimits, gatewayLimits } from './limits.ts'
export { serverOptions } from './server-options.ts'
