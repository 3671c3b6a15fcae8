import { isDeepStrictEqual } from 'node:util'
import { AtollError, type Exit, limits, type Process, type StartProcess } from '@atoll/protocol'
import type { GuestState } from './state.ts'
import type { Invocation, Memory } from './invocation.ts'
import { outputLog } from './log.ts'
import { findProgram } from './programs.ts'
import type { SavedProcess, SimulatedProcess } from './simulated-process.ts'
import { stdinPipe } from './stdin.ts'
import { find, normalPath, users } from './tree.ts'

/** Ended processes that are remembered, oldest forgotten first. */
const endedKept = 1_024

/** Starts a process, or answers with the one of the same id and body. */
export const startProcess = (
  guest: GuestState,
  id: string,
  body: StartProcess,
): { process: SimulatedProcess; isNew: boolean } => {
  const known = guest.processes.get(id)
  if (known !== undefined) {
    if (isDeepStrictEqual(known.body, body)) return { process: known, isNew: false }
    throw new AtollError('conflict', `cannot start process ${id}: the id stands for another command`)
  }
  if (guest.identity === undefined || guest.isCopy)
    throw new AtollError('not_adopted', `cannot start process ${id}: the guest has no identity yet`)
  if (guest.quiet.isClosed)
    throw new AtollError('state_conflict', `cannot start process ${id}: the guest stands still; try again`)
  const running = [...guest.processes.values()].filter((process) => process.record().exit === null)
  if (running.length >= guest.identity.limits.processes)
    throw new AtollError('too_many_processes', `cannot start process ${id}: ${running.length} are running`)
  const process = run(guest, id, body)
  guest.processes.set(id, process)
  forgetOldest(guest)
  return { process, isNew: true }
}

const forgetOldest = (guest: GuestState): void => {
  const ended = [...guest.processes.values()].filter((process) => process.record().exit !== null)
  for (const process of ended.slice(0, Math.max(0, ended.length - endedKept)))
    guest.processes.delete(process.id)
}

/** Goes on with a process of a checkpoint, where it was. */
export const resumeProcess = (guest: GuestState, saved: SavedProcess): void =>
  void guest.processes.set(saved.id, run(guest, saved.id, saved.body, saved))

const run = (guest: GuestState, id: string, body: StartProcess, saved?: SavedProcess): SimulatedProcess => {
  const prepared = prepare(guest, body)
  const log = outputLog(body.outputLimitBytes ?? limits.outputRingDefaultBytes, guest.monotonic, saved?.log)
  const stdin = stdinPipe(body.stdin === 'pipe', saved?.stdin)
  const abort = new AbortController()
  const ended = Promise.withResolvers<Process>()
  const how = { killed: false, timedOut: false, signal: undefined as string | undefined }
  const startedAtMs = saved?.startedAtMs ?? guest.now()
  const began = guest.monotonic() - (saved?.ranMs ?? 0)
  const pid = saved?.pid ?? ++guest.lastPid
  const memory: Memory = saved?.memory ?? {}
  const passed = async (): Promise<void> => {
    do {
      await guest.frozen.passed(abort.signal)
      await guest.quiet.passed(abort.signal)
    } while (guest.frozen.isClosed && !abort.signal.aborted)
  }
  let exit: Exit | null = saved?.exit ?? null
  const record = (): Process => ({
    id: id as Process['id'],
    pid,
    argv: prepared.argv,
    user: prepared.user,
    cwd: prepared.cwd,
    terminal: body.terminal !== undefined,
    state: exit === null ? 'running' : 'exited',
    startedAtMs,
    log: { start: log.start, end: log.end },
    exit,
  })
  const raise = (name: string): void => {
    how.signal ??= name
    abort.abort(new Error(name))
    log.notify()
  }
  const timer =
    body.timeoutMs === undefined || exit !== null
      ? undefined
      : setTimeout(
          () => {
            how.timedOut = true
            raise('SIGKILL')
          },
          body.timeoutMs - (saved?.ranMs ?? 0),
        )
  timer?.unref()
  const finish = (code: number): void => {
    clearTimeout(timer)
    const durationMs = guest.monotonic() - began
    exit = {
      code: how.signal === undefined ? code : null,
      signal: how.signal ?? null,
      timedOut: how.timedOut,
      killed: how.killed,
      oom: false,
      limits: [],
      survivorsKilled: 0,
      survivorsKept: 0,
      durationMs,
      cpuMs: durationMs,
      peakMemoryBytes: 0,
      endedAtMs: guest.now(),
    }
    stdin.close()
    log.close()
    ended.resolve(record())
  }
  const invocation: Invocation = {
    ...prepared,
    pid,
    tree: guest.tree,
    stdin: stdin.read(abort.signal, passed),
    signal: abort.signal,
    now: guest.now,
    hostname: guest.identity?.hostname ?? '',
    cpuCount: guest.identity?.limits.cpuCount ?? 1,
    raise,
    memory,
    passed,
    write: async (kind, data) => {
      await passed()
      const bytes = typeof data === 'string' ? Buffer.from(data) : data
      while (log.mustWait(bytes.byteLength) && !abort.signal.aborted) await log.changed()
      abort.signal.throwIfAborted()
      log.append(body.terminal === undefined ? kind : 1, bytes)
    },
  }
  if (exit === null)
    passed()
      .then(() => prepared.program(invocation))
      .then(finish, (error: unknown) => {
        if (!abort.signal.aborted) log.append(2, Buffer.from(`${String(error)}\n`))
        finish(70)
      })
  else ended.resolve(record())
  return {
    id,
    log,
    stdin,
    ended: ended.promise,
    record,
    body,
    save: () => ({
      id,
      pid,
      body,
      startedAtMs,
      ranMs: guest.monotonic() - began,
      memory,
      log: log.save(),
      stdin: stdin.save(),
      exit,
    }),
    signal: (name) => {
      if (exit !== null) return false
      how.killed = true
      raise(name)
      return true
    },
  }
}

const prepare = (guest: GuestState, body: StartProcess) => {
  const argv = body.argv ?? ['/bin/sh', '-c', body.shell ?? '']
  const user = body.user ?? guest.identity?.defaultUser ?? 'root'
  const account = users[user]
  if (account === undefined)
    throw new AtollError('invalid_request', `cannot start ${argv[0]}: there is no user ${user}`)
  const cwd = normalPath(body.cwd ?? guest.identity?.workdir ?? account.home, account.home)
  if (find(guest.tree, cwd)?.type !== 'directory')
    throw new AtollError('path_not_found', `cannot start ${argv[0]}: ${cwd} is no directory`)
  const program = findProgram(argv[0] ?? '')
  if (program === undefined)
    throw new AtollError(
      'exec_failed',
      `cannot start ${argv[0]}: the simulated runtime has no such program; use a real runtime`,
    )
  const env: Record<string, string> = {
    PATH: '/usr/bin:/bin',
    HOME: account.home,
    USER: user,
    LOGNAME: user,
    SHELL: '/bin/sh',
    ...guest.identity?.env,
    ...body.env,
  }
  return { argv: [...argv], user, uid: account.uid, cwd, program, env }
}
