import { type NodeApi, outputFrameDecoder } from '@atoll/protocol'
import { runIn } from './test-node.ts'

/** The process that holds a word, and whose log nothing but memory keeps. */
const keeper = 'keeper'

const json = (value: unknown) => ({
  headers: { 'content-type': 'application/json' },
  body: Buffer.from(JSON.stringify(value)),
})

/** Lets a process hold a word in memory alone: it is there after a restore and gone after a boot. */
export const holdInMemory = async (node: NodeApi, id: string, word: string): Promise<void> => {
  const start = await node.guest(id, {
    method: 'PUT',
    path: `/v1/processes/${keeper}`,
    ...json({ argv: ['cat'], stdin: 'pipe' }),
  })
  for await (const _ of start.body);
  const path = `/v1/processes/${keeper}/stdin`
  const told = await node.guest(id, { method: 'POST', path, body: Buffer.from(`${word}\n`) })
  for await (const _ of told.body);
  const until = Date.now() + 5_000
  while ((await heldInMemory(node, id)) !== word)
    if (Date.now() > until) throw new Error(`${id} does not hold ${word}`)
}

/** The word, or undefined where no process holds one. */
export const heldInMemory = async (node: NodeApi, id: string): Promise<string | undefined> => {
  const record = await node.guest(id, { method: 'GET', path: `/v1/processes/${keeper}` })
  let text = ''
  for await (const chunk of record.body) text += Buffer.from(chunk).toString()
  if (record.status >= 400 || JSON.parse(text).state !== 'running') return undefined
  const output = await node.guest(id, { method: 'GET', path: `/v1/processes/${keeper}/output` })
  const decoder = outputFrameDecoder()
  let word = ''
  for await (const chunk of output.body)
    for (const frame of decoder.push(chunk))
      if (frame.kind === 1) word += Buffer.from(frame.payload).toString()
  return word.trim()
}

/** Writes a file through a command that has ended when this resolves. */
export const writeIn = async (node: NodeApi, id: string, name: string, text: string): Promise<void> => {
  const ran = await runIn(node, id, ['sh', '-c', `echo ${text} > ${name}`])
  if (ran.exit?.code !== 0) throw new Error(`cannot write ${name} in ${id}: ${JSON.stringify(ran)}`)
}

/** What is in a file; undefined where there is none. */
export const readIn = async (node: NodeApi, id: string, name: string): Promise<string | undefined> => {
  const ran = await runIn(node, id, ['cat', name])
  return ran.exit?.code === 0 ? ran.stdout.trim() : undefined
}
