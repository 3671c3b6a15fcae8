import { Command } from 'commander'

/** Built from the commands themselves, so that it cannot fall behind them. */
export const completionCommand = (): Command =>
  new Command('completion')
    .description('print a completion script: source <(atoll completion bash)')
    .argument('<shell>', 'bash, zsh or fish')
    .action((shell: string, _flags: unknown, command: Command) => {
      const write = scripts[shell]
      if (write === undefined)
        command.error(`error: no completion for ${shell}: give bash, zsh or fish`, { exitCode: 2 })
      else process.stdout.write(write(wordsOf(rootOf(command))))
    })

interface Words {
  /** The commands that lead here, like `sandbox list`. Empty for the top. */
  readonly path: string
  readonly commands: readonly { name: string; description: string }[]
  readonly options: readonly string[]
}

const rootOf = (command: Command): Command => (command.parent === null ? command : rootOf(command.parent))

const wordsOf = (command: Command, path = ''): Words[] => {
  const below = command.commands.flatMap((child) => wordsOf(child, `${path} ${child.name()}`.trim()))
  const own = {
    path,
    commands: command.commands.map((child) => ({ name: child.name(), description: child.description() })),
    options: command.options.flatMap(({ long }) => (long === undefined ? [] : [long])),
  }
  return [own, ...below]
}

const candidates = ({ commands, options }: Words): string =>
  [...commands.map(({ name }) => name), ...options, '--help'].join(' ')

const cases = (all: readonly Words[]): string =>
  all.map((words) => `    "${words.path}") candidates="${candidates(words)}" ;;`).join('\n')

const bash = (all: readonly Words[]): string => `# bash completion for atoll
_atoll() {
  local current="\${COMP_WORDS[COMP_CWORD]}" path="" word candidates=""
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$word" in --) return ;; -*) ;; *) path="\${path:+$path }$word" ;; esac
  done
  while :; do
    case "$path" in
${cases(all)}
    esac
    if [ -n "$candidates" ] || [ -z "$path" ]; then break; fi
    case "$path" in *" "*) path="\${path% *}" ;; *) path="" ;; esac
  done
  COMPREPLY=($(compgen -W "$candidates" -- "$current"))
}
complete -o default -F _atoll atoll
`

const zsh = (all: readonly Words[]): string => `#compdef atoll
autoload -U +X bashcompinit && bashcompinit
${bash(all)}`

const quoted = (text: string): string => `'${text.replace(/[\\']/g, String.raw`\$&`)}'`

const fish = (all: readonly Words[]): string => {
  const lines = all.flatMap(({ path, commands, options }) => {
    const parts = path === '' ? [] : path.split(' ')
    const names = commands.map(({ name }) => name)
    const seen = parts.map((part) => `__fish_seen_subcommand_from ${part}`)
    const when = [
      ...seen,
      ...(names.length === 0 ? [] : [`not __fish_seen_subcommand_from ${names.join(' ')}`]),
    ]
    const condition = when.length === 0 ? '' : ` -n ${quoted(when.join('; and '))}`
    return [
      ...commands.map(
        ({ name, description }) => `complete -c atoll -f${condition} -a ${name} -d ${quoted(description)}`,
      ),
      ...options.map((option) => `complete -c atoll${condition} -l ${option.slice(2)}`),
    ]
  })
  return `# fish completion for atoll\n${lines.join('\n')}\n`
}

const scripts: Readonly<Record<string, (all: readonly Words[]) => string>> = { bash, zsh, fish }
