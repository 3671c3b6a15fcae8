import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Stack, startStack } from '../stack/start-stack.ts'

const execute = promisify(execFile)
const root = fileURLToPath(new URL('../..', import.meta.url))
const guides = join(root, 'docs/guides')

/** The fenced blocks of one language, in order. */
const blocksOf = (text: string, language: string): string[] =>
  [...text.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, 'gm'))].map(
    (match) => match[1] ?? '',
  )

const named = await readdir(guides)
const texts = await Promise.all(
  named.map(async (name) => ({ name, text: await readFile(join(guides, name), 'utf8') })),
)

/** What a guide promises in a comment behind a console.log must be what it prints. */
const promisesOf = (script: string): string[] =>
  [...script.matchAll(/^.*console\.log\(.*\) \/\/ (.*)$/gm)].map((match) => match[1] ?? '')

/** What a comment behind a command promises must be in what the commands print. */
const saidBy = (script: string): string[] =>
  [...script.matchAll(/^[^#\n]+ # (.*)$/gm)].map((match) => match[1] ?? '')

describe('guides do what they say', () => {
  let stack: Stack
  beforeAll(async () => {
    stack = await startStack()
  })
  afterAll(() => stack[Symbol.asyncDispose]())
  const env = () => ({ ...process.env, ATOLL_URL: stack.url, ATOLL_API_KEY: stack.apiKey, NO_COLOR: '1' })

  it.each(texts.filter(({ text }) => blocksOf(text, 'ts').length > 0))(
    '$name',
    async ({ name, text }) => {
      const script = blocksOf(text, 'ts').join('\n')
      // Inside the workspace, so that @atoll/sdk resolves.
      const folder = await mkdtemp(join(root, 'tests/e2e/.guide-'))
      try {
        await writeFile(join(folder, `${name}.ts`), script)
        const { stdout } = await execute(process.execPath, [join(folder, `${name}.ts`)], {
          env: env(),
          timeout: 100_000,
        })
        for (const promise of promisesOf(script)) expect(stdout.split('\n')).toContain(promise)
      } finally {
        await rm(folder, { recursive: true, force: true })
      }
    },
    120_000,
  )

  it.each(texts.filter(({ text }) => blocksOf(text, 'sh').length > 0))(
    '$name, by the CLI',
    async ({ text }) => {
      const folder = await mkdtemp('/tmp/atoll-guide-')
      const cli = `atoll() { '${process.execPath}' '${join(root, 'clients/cli/src/main.ts')}' "$@"; }`
      try {
        const script = blocksOf(text, 'sh').join('\n')
        const { stdout } = await execute('sh', ['-ec', `${cli}\n${script}`], {
          cwd: folder,
          env: env(),
          timeout: 200_000,
        })
        for (const promise of saidBy(script)) expect(stdout).toContain(promise)
      } finally {
        await rm(folder, { recursive: true, force: true })
      }
    },
    240_000,
  )
})
