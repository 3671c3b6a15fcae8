import { AtollError } from '@atoll/protocol'

/** Counts open followers: each one is a timer and a socket. */
export const followerGate = (maxFollowers: number) => {
  let open = 0
  return {
    enter(): Disposable {
      if (open >= maxFollowers)
        throw new AtollError(
          'overloaded',
          `cannot follow a log: ${maxFollowers} streams are open already; read pages without follow`,
        )
      open += 1
      return { [Symbol.dispose]: () => void (open -= 1) }
    },
  }
}

export type FollowerGate = ReturnType<typeof followerGate>
