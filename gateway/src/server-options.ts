/**
 * Options for the node:http server in front: headers have a deadline, streams have none (Node's default
 * of 300 s for a whole request would cut a long upload); bodies have deadlines of their own in here.
 */
export const serverOptions = {
  requestTimeout: 0,
  headersTimeout: 20_000,
  keepAliveTimeout: 75_000,
  connectionsCheckingInterval: 5_000,
  maxHeaderSize: 32 * 1024,
  highWaterMark: 256 * 1024,
} as const
