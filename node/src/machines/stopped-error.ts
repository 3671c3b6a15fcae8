import { AtollError } from '@atoll/protocol'

/** Refuses what needs a running sandbox. */
export const stoppedError = (id: string): AtollError =>
  new AtollError('state_conflict', `${id} is stopped`, { sandboxState: 'stopped', remedy: 'start it first' })
