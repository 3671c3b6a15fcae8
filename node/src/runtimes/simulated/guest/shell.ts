import { AtollError } from '@atoll/protocol'
import { type Invocation, type Memory, type Program, writeFile } from './invocation.ts'
import { find, normalPath } from './tree.ts'

/** Most commands that one line holds. */
const commandLimit = 1_000

/** `sh -c` with words, quotes, $NAME, `;`, `&&`, `||`, `>`, `>>`, `1>&2`, assignments, cd, export and exit. */
export const runShell = async (
  invocation: Invocation,
  programs: Readonly<Record<string, Program>>,
): Promise<number> => {
  if (invocation.argv[1] !== '-c' || invocation.argv[2] === undefined) {
    await invocation.write(2, 'sh: the simulated shell knows only -c\n')
    return 2
  }
  const { memory } = invocation
  let code = Number((memory['code'] ??= 0))
  invocation.env = (memory['env'] as Record<string, string> | undefined) ?? invocation.env
  if (typeof memory['cwd'] === 'string') invocation.cwd = memory['cwd']
  const commands = split(invocation.argv[2])
  if (commands.length > commandLimit) return 2
  for (let index = Number(memory['index'] ?? 0); index < commands.length; index++) {
    const { joint, words } = commands[index] ?? { joint: ';', words: [] }
    if ((joint === '&&' && code !== 0) || (joint === '||' && code === 0)) continue
    const expanded = words.map((word) => expand(word, invocation, code))
    if (expanded[0] === 'exit') return Number(expanded[1] ?? code) & 255
    memory['index'] = index
    code = await runCommand(invocation, programs, expanded)
    memory['inner'] = undefined
    memory['code'] = code
    memory['index'] = index + 1
    memory['env'] = { ...invocation.env }
    memory['cwd'] = invocation.cwd
  }
  return code
}

const runCommand = async (
  invocation: Invocation,
  programs: Readonly<Record<string, Program>>,
  words: string[],
): Promise<number> => {
  const { argv, write } = redirect(invocation, words)
  const [name, operand] = argv
  if (name === undefined) return 0
  const assignment = /^([A-Za-z_]\w*)=(.*)$/s.exec(name === 'export' ? (operand ?? '') : name)
  if (assignment !== null) {
    invocation.env = { ...invocation.env, [assignment[1] ?? '']: assignment[2] ?? '' }
    return 0
  }
  if (name === 'cd') {
    const path = normalPath(operand ?? invocation.env['HOME'] ?? '/', invocation.cwd)
    if (find(invocation.tree, path)?.type !== 'directory') {
      await write(2, `sh: cd: ${operand}: No such file or directory\n`)
      return 1
    }
    invocation.cwd = path
    return 0
  }
  const bare = name.replace(/^.*\//, '')
  const program = Object.hasOwn(programs, bare) ? programs[bare] : undefined
  if (program === undefined) {
    await write(2, `sh: ${name}: not found\n`)
    return 127
  }
  const inner: Memory = isMemory(invocation.memory['inner']) ? invocation.memory['inner'] : {}
  invocation.memory['inner'] = inner
  return await program({ ...invocation, argv, write, memory: inner })
}

const isMemory = (value: Memory[string]): value is Memory => typeof value === 'object'

/** Takes `> file`, `>> file` and `1>&2` off a command. */
const redirect = (invocation: Invocation, words: string[]) => {
  const argv: string[] = []
  let write = invocation.write
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? ''
    if (word === '1>&2' || word === '>&2') write = (_kind, data) => invocation.write(2, data)
    else if (word === '>' || word === '>>') {
      const path = normalPath(words[++index] ?? '', invocation.cwd)
      // A restored command goes on with what it had written.
      const keeps = word === '>>' || isMemory(invocation.memory['inner'])
      let held = keeps ? contents(invocation, path) : new Uint8Array()
      writeFile(invocation, path, held)
      write = async (kind, data) => {
        if (kind === 2) return invocation.write(2, data)
        held = Buffer.concat([held, typeof data === 'string' ? Buffer.from(data) : data])
        try {
          writeFile(invocation, path, held)
        } catch (error) {
          if (!(error instanceof AtollError)) throw error
          await invocation.write(2, `sh: ${path}: No space left on device\n`)
        }
      }
    } else argv.push(word)
  }
  return { argv, write }
}

const contents = (invocation: Invocation, path: string): Uint8Array => {
  const node = find(invocation.tree, path)
  return node?.type === 'file' ? node.data : new Uint8Array()
}

interface Command {
  readonly joint: string
  readonly words: string[]
}

/** Cuts a line into commands; words keep their quotes for `expand`. */
const split = (line: string): Command[] => {
  const commands: Command[] = [{ joint: ';', words: [] }]
  const tokens = line.match(/&&|\|\||;|\n|1?>&2|>>|>|(?:"(?:\\.|[^"\\])*"|'[^']*'|[^\s;&|>"'])+/g) ?? []
  for (const token of tokens) {
    if (token === '&&' || token === '||' || token === ';' || token === '\n')
      commands.push({ joint: token, words: [] })
    else commands.at(-1)?.words.push(token)
  }
  return commands
}

const expand = (word: string, invocation: Invocation, code: number): string =>
  word.replace(/'([^']*)'|"((?:\\.|[^"\\])*)"|([^'"]+)/g, (_all, single, double, bare) => {
    if (typeof single === 'string') return single
    const text = typeof double === 'string' ? double.replace(/\\(["\\$])/g, '$1') : String(bare)
    return text.replace(/\$(?:\{(\w+)\}|(\w+)|([$?]))/g, (_match, braced, plain, special) => {
      if (special === '$') return String(invocation.pid)
      if (special === '?') return String(code)
      return invocation.env[braced ?? plain] ?? ''
    })
  })
