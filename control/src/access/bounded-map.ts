/** A map of limited size: the least recently used entry goes first. */
export const boundedMap = <Value>(maxEntries: number) => {
  const entries = new Map<string, Value>()
  return {
    get(key: string): Value | undefined {
      const value = entries.get(key)
      if (value === undefined) return undefined
      entries.delete(key)
      entries.set(key, value)
      return value
    },
    set(key: string, value: Value): void {
      entries.delete(key)
      entries.set(key, value)
      if (entries.size <= maxEntries) return
      const oldest = entries.keys().next()
      if (!oldest.done) entries.delete(oldest.value)
    },
    delete(key: string): void {
      entries.delete(key)
    },
    get size(): number {
      return entries.size
    },
  }
}
