import { runTool } from '../host/run-tool.ts'

const removeMs = 10 * 60_000

/** Removes a tree of any depth: a hostile archive nests deeper than a path can name, and `rm` walks by descriptor. */
export const removeTree = async (path: string): Promise<void> => {
  await runTool({
    act: `remove ${path}`,
    command: ['/usr/bin/rm', '-rf', '--one-file-system', '--', path],
    signal: AbortSignal.timeout(removeMs),
  })
}
