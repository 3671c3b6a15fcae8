import type { Call } from './call.ts'
import { listFiles, makeFolder, moveFile, readMetrics, removeFile, statFile } from './files/entries.ts'
import { readFile, readTar, writeFile, writeTar } from './files/transfer.ts'
import { watchFiles } from './files/watch.ts'
import {
  endProcess,
  getProcess,
  listProcesses,
  resizeTerminal,
  signalProcess,
  waitForProcess,
  writeStdin,
} from './processes/control.ts'
import { readOutput } from './processes/output.ts'
import { startProcess } from './processes/start.ts'

export interface Route {
  readonly access: 'read' | 'use'
  readonly run: (call: Call) => Promise<void>
}

/**
 * Every way to a guest, by method and path below `/v1/sandboxes/{id}`; `*` is a process id. A closed table:
 * the guest's own control routes (adopt, health) have no entry, and so no way in.
 */
export const routes: Readonly<Record<string, Route>> = {
  'POST processes': { access: 'use', run: startProcess },
  'GET processes': { access: 'read', run: listProcesses },
  'GET processes/*': { access: 'read', run: getProcess },
  'DELETE processes/*': { access: 'use', run: endProcess },
  'GET processes/*/wait': { access: 'read', run: waitForProcess },
  'GET processes/*/output': { access: 'read', run: readOutput },
  'POST processes/*/stdin': { access: 'use', run: writeStdin },
  'POST processes/*/signal': { access: 'use', run: signalProcess },
  'POST processes/*/resize': { access: 'use', run: resizeTerminal },
  'GET files': { access: 'read', run: readFile },
  'PUT files': { access: 'use', run: writeFile },
  'GET files/stat': { access: 'read', run: statFile },
  'GET files/list': { access: 'read', run: listFiles },
  'POST files/move': { access: 'use', run: moveFile },
  'POST files/remove': { access: 'use', run: removeFile },
  'POST files/make': { access: 'use', run: makeFolder },
  'GET files/watch': { access: 'read', run: watchFiles },
  'GET tar': { access: 'read', run: readTar },
  'PUT tar': { access: 'use', run: writeTar },
  'GET metrics': { access: 'read', run: readMetrics },
}
