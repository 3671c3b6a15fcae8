/** One after the other, by name: a read-modify-write of a lease must not overtake another one. */
export const turns = () => {
  const last = new Map<string, Promise<unknown>>()
  return {
    async take<Result>(name: string, act: () => Promise<Result>): Promise<Result> {
      const before = last.get(name) ?? Promise.resolve()
      const mine = before.then(act, act)
      last.set(name, mine)
      try {
        return await mine
      } finally {
        if (last.get(name) === mine) last.delete(name)
      }
    },
  }
}

export type Turns = ReturnType<typeof turns>
