/** Inputs that are remembered as begun; the oldest are forgotten first. */
const inputsKept = 10_000

/**
 * Which inputs were begun. A retry that meets its process must not write the input a second time into it,
 * and must write it when the first try never came that far.
 */
export const begunInputs = () => {
  const begun = new Set<string>()
  return {
    /** True for the first who asks, or when the process is a new one of that id. */
    claim(sandbox: string, process: string, isNew: boolean): boolean {
      const name = `${sandbox}/${process}`
      if (begun.has(name) && !isNew) return false
      begun.add(name)
      const oldest = begun.values().next()
      if (begun.size > inputsKept && !oldest.done) begun.delete(oldest.value)
      return true
    },
  }
}

export type BegunInputs = ReturnType<typeof begunInputs>
