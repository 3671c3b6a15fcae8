import { AtollError } from '@atoll/protocol'

/** Builds that run in this process, with the handle that cancels each. */
export const runningBuilds = (limits: { readonly builds: number; readonly buildsPerProject: number }) => {
  const running = new Map<string, { readonly project: string; readonly cancel: AbortController }>()
  const waiting: (() => void)[] = []
  return {
    /** Takes a place; the refusal names the limit. */
    begin(id: string, project: string): AbortController {
      const own = [...running.values()].filter((build) => build.project === project).length
      if (own >= limits.buildsPerProject || running.size >= limits.builds)
        throw new AtollError(
          'overloaded',
          `cannot begin a build: ${own} of this project's ${limits.buildsPerProject} and ${running.size} of all ${limits.builds} places are taken; wait for one to end`,
        )
      const cancel = new AbortController()
      running.set(id, { project, cancel })
      return cancel
    },
    cancel(id: string): boolean {
      const build = running.get(id)
      build?.cancel.abort(new AtollError('canceled', `build ${id} was canceled`))
      return build !== undefined
    },
    end(id: string): void {
      running.delete(id)
      if (running.size === 0) for (const wake of waiting.splice(0)) wake()
    },
    /** Resolves when none runs. */
    async idle(): Promise<void> {
      if (running.size > 0) await new Promise<void>((resolve) => void waiting.push(resolve))
    },
    has: (id: string): boolean => running.has(id),
  }
}

export type RunningBuilds = ReturnType<typeof runningBuilds>
