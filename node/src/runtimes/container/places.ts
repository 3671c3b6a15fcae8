import { join } from 'node:path'

/**
 * Where things are in the launcher's private mount namespace. The sandbox's own folder is 0700 and the container's
 * user could not pass it; a data folder may also hold characters that overlay options cannot.
 */
const scratch = '/mnt'

export const places = {
  scratch,
  image: join(scratch, 'image'),
  disk: join(scratch, 'disk'),
  upper: join(scratch, 'disk/upper'),
  work: join(scratch, 'disk/work'),
  root: join(scratch, 'root'),
  meminfo: join(scratch, 'meminfo'),
  cgroup: join(scratch, 'cgroup'),
  memory: join(scratch, 'memory'),
  pids: join(scratch, 'pids'),
} as const
