import { setTimeout as sleep } from 'node:timers/promises'
import { type Program, writeFile } from './invocation.ts'
import { runShell } from './shell.ts'
import { find, findFile, normalPath } from './tree.ts'

/** Everything that the simulated image has. What is not here is an honest `exec_failed`. */
export const programs: Readonly<Record<string, Program>> = {
  true: async () => 0,
  false: async () => 1,
  echo: async ({ argv, write }) => {
    await write(1, `${argv.slice(1).join(' ')}\n`)
    return 0
  },
  cat: async (invocation) => {
    const paths = invocation.argv.slice(1)
    if (paths.length === 0) for await (const chunk of invocation.stdin) await invocation.write(1, chunk)
    for (const path of paths) {
      const node = find(invocation.tree, normalPath(path, invocation.cwd))
      if (node?.type !== 'file') {
        await invocation.write(2, `cat: ${path}: No such file or directory\n`)
        return 1
      }
      await invocation.write(1, node.data)
    }
    return 0
  },
  sleep: async ({ argv, signal, memory, now, passed }) => {
    const untilMs = Number((memory['untilMs'] ??= now() + Number(argv[1]) * 1_000))
    await sleep(Math.min(Math.max(0, untilMs - now()), 2 ** 31 - 1), undefined, { signal, ref: false })
    await passed()
    return 0
  },
  env: async ({ env, write }) => {
    for (const [name, value] of Object.entries(env)) await write(1, `${name}=${value}\n`)
    return 0
  },
  pwd: async ({ cwd, write }) => {
    await write(1, `${cwd}\n`)
    return 0
  },
  hostname: async ({ hostname, write }) => {
    await write(1, `${hostname}\n`)
    return 0
  },
  nproc: async ({ cpuCount, write }) => {
    await write(1, `${cpuCount}\n`)
    return 0
  },
  /** Endless output, for what must bear it. */
  yes: async ({ argv, write, signal }) => {
    const page = Buffer.from(`${argv[1] ?? 'y'}\n`.repeat(4_096))
    while (!signal.aborted) {
      await write(1, page)
      await new Promise(setImmediate)
    }
    return 0
  },
  kill: async ({ argv, pid, raise, write }) => {
    const name = argv[1]?.startsWith('-') === true ? argv[1].slice(1) : 'TERM'
    if (argv.at(-1) === String(pid)) raise(signalNames[name] ?? `SIG${name}`)
    else await write(2, 'kill: no such process\n')
    return 1
  },
  touch: async (invocation) => {
    for (const path of invocation.argv.slice(1)) {
      const at = normalPath(path, invocation.cwd)
      const data =
        find(invocation.tree, at) === undefined ? new Uint8Array() : findFile(invocation.tree, at).data
      writeFile(invocation, at, data)
    }
    return 0
  },
  sh: (invocation) => runShell(invocation, programs),
}

const signalNames: Readonly<Record<string, string>> = {
  9: 'SIGKILL',
  15: 'SIGTERM',
  2: 'SIGINT',
  1: 'SIGHUP',
}

/** The program that argv[0] names: by its bare name or in one of the usual directories. */
export const findProgram = (name: string): Program | undefined => {
  const bare = name.replace(/^\/(usr\/)?(local\/)?s?bin\//, '')
  return Object.hasOwn(programs, bare) ? programs[bare] : undefined
}
