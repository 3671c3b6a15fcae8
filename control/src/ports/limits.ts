/** Limits of ports (invariant 9). */
export const portLimits = {
  /** Ports of one sandbox whose settings are not the default. */
  portsPerSandbox: 100,
  /** Settings that are kept in memory; the least recently used go first. */
  portsCached: 50_000,
  /** Tokens of one request that are looked at: a browser may bring more than one cookie. */
  tokensPerRequest: 6,
}
