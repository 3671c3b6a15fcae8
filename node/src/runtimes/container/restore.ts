import { AtollError } from '@atoll/protocol'

/**
 * CRIU cannot be trusted here: it restores neither user namespaces with id-mapped mounts nor the agent's cgroup and
 * descriptors, so that a snapshot would be one that nobody can use.
 */
export const noMemory = (act: string): AtollError =>
  new AtollError(
    'unsupported',
    `cannot ${act} on container: the memory of processes on the host's own kernel cannot be saved soundly; use gvisor, or a disk snapshot`,
  )
