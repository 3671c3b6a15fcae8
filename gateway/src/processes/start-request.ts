import type { GuestRequest, StartProcess } from '@atoll/protocol'

/** A start as it goes to the guest. */
export interface Start {
  readonly id: string
  readonly request: GuestRequest
  readonly body: StartProcess
}
