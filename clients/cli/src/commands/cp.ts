import { stat } from 'node:fs/promises'
import { AtollError } from '@atoll/sdk'
import { Command } from 'commander'
import { downloadPath } from '../local/download.ts'
import { uploadPath } from '../local/upload.ts'
import { progress } from '../output/progress.ts'
import { size } from '../output/table.ts'
import { perform } from '../perform.ts'

export const cpCommand = (): Command =>
  new Command('cp')
    .description('copy files and folders into a sandbox or out of it: one side is <id>:<path>')
    .argument('<from>', 'local path, or <id>:<path>')
    .argument('<to>', 'local path, or <id>:<path>')
    .option('--user <name>', 'user inside')
    .action((from: string, to: string, flags: { user?: string }, command: Command) =>
      perform(command, async ({ atoll, print, signal }) => {
        const [source, target] = [remoteOf(from), remoteOf(to)]
        if ((source === undefined) === (target === undefined))
          throw new AtollError(
            'invalid_request',
            'cannot copy: one side, and only one, has to be <id>:<path>',
          )
        using shown = progress(`copying ${from}`, print.json)
        const call = { user: flags.user, signal }
        const copied =
          source === undefined
            ? await uploadPath((await openFiles(target)).files, from, target?.path ?? '', call)
            : await downloadPath(
                (await openFiles(source)).files,
                source.path,
                await intoFolder(to, source.path),
                call,
              )
        shown[Symbol.dispose]()
        print.result({ from, to, ...copied }, () => `${copied.entries} copied, ${size(copied.bytes)}`)

        function openFiles(remote: Remote | undefined) {
          return atoll.sandboxes.connect(remote?.id ?? '', { signal })
        }
      }),
    )

interface Remote {
  readonly id: string
  readonly path: string
}

/** `sbx_…:path`; an empty path is the user's home. */
const remoteOf = (text: string): Remote | undefined => {
  const match = /^(sbx_[a-z2-7]{20}):(.*)$/s.exec(text)
  return match?.[1] === undefined
    ? undefined
    : { id: match[1], path: match[2] === '' ? '.' : (match[2] ?? '.') }
}

/** Like cp: into a folder that is there, under its own name; else under the name that is given. */
const intoFolder = async (to: string, from: string): Promise<string> => {
  const name = from
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .at(-1)
  const folder = await stat(to).then(
    (found) => found.isDirectory(),
    () => false,
  )
  return folder && name !== undefined && name !== '..' ? `${to.replace(/\/+$/, '')}/${name}` : to
}
