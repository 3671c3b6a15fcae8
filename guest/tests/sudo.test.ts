import { chmodSync, copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { agentBinary, type RunningAgent, startAgent } from './agent.ts'
import { collect, openStream, runOf } from './output.ts'

/** What the whole frames say; nothing while the last has not come whole. */
const said = (bytes: Buffer): string => {
  try {
    return runOf(bytes).stdout
  } catch {
    return ''
  }
}

/** The agent's own binary by the name of sudo, in a sandbox where set-user-id does not work. */
describe('sudo', () => {
  let agent: RunningAgent
  let count = 0
  const path = mkdtempSync(join(tmpdir(), 'atoll-sudo-'))

  const run = async (argv: string[], more: Record<string, unknown> = {}) => {
    count += 1
    const env = { PATH: `${path}:/usr/bin:/bin`, ...(more['env'] as object) }
    const answer = await agent.call('PUT', `/v1/processes/s${count}?follow=1`, {
      argv,
      cwd: '/',
      ...more,
      env,
    })
    if (answer.status !== 201) throw new Error(answer.body.toString())
    return runOf(answer.body)
  }
  const user = '4242'
  const sh = (script: string, more: Record<string, unknown> = {}) =>
    run(['sh', '-c', script], { user, ...more })
  const asRoot = async (script: string) => {
    const ran = await run(['sh', '-ec', script])
    expect(ran.exit, ran.stderr).toMatchObject({ code: 0 })
  }

  beforeAll(async () => {
    agent = await startAgent({ containment: 'cgroup2', noNewPrivileges: true })
    expect(agent.log()).toContain('held by cgroup2')
    chmodSync(path, 0o755)
    copyFileSync(agentBinary, join(path, 'sudo'))
    chmodSync(join(path, 'sudo'), 0o755)
    await asRoot(`echo 'tester:x:4242:4242::/tmp:/bin/sh' >> /etc/passwd
      echo 'outsider:x:4343:4343::/tmp:/bin/sh' >> /etc/passwd
      echo 'tester:x:4242:' >> /etc/group
      mkdir -p /etc/sudoers.d; echo 'tester ALL=(ALL:ALL) NOPASSWD:ALL' > /etc/sudoers.d/tester
      chmod 0440 /etc/sudoers.d/tester`)
  })
  afterAll(async () => {
    rmSync(path, { recursive: true })
    await agent[Symbol.asyncDispose]()
  })

  it('runs as root with the rights that root has here, and hands the code on', async () => {
    const script =
      'grep NoNewPrivs /proc/self/status; sudo sh -c "id -u; grep CapEff /proc/self/status; exit 7"; echo $?'
    const ran = await sh(script)
    const [flag, id, effective, code] = ran.stdout.trim().split('\n')
    expect([flag, id, code]).toEqual(['NoNewPrivs:\t1', '0', '7'])
    const root = await run(['grep', 'CapEff', '/proc/self/status'])
    expect(effective).toBe(root.stdout.trim())
  })

  it('lends its streams, its folder and no environment but what sudo keeps', async () => {
    const ran = await sh(
      `echo in | sudo A=1 sh -c 'cat; pwd; echo err >&2; echo "$SECRET|$TERM|$A|$HOME|$USER|$SUDO_USER|$SUDO_UID"'`,
      { cwd: '/usr', env: { SECRET: 'x', TERM: 'dumb' } },
    )
    expect(ran.stdout).toBe('in\n/usr\n|dumb|1|/root|root|tester|4242\n')
    expect(ran.stderr).toBe('err\n')
    const kept = await sh('sudo -E sh -c "echo $SECRET"; sudo -iu tester echo \'a  b\' "\\$USER"', {
      env: { SECRET: 'x' },
    })
    expect(kept.stdout).toBe('x\na  b tester\n')
  })

  it('refuses whom no rule lets, by name', async () => {
    const outsider = await sh('sudo -n true', { user: '4343' })
    expect(outsider.exit.code).toBe(1)
    expect(outsider.stderr).toContain('a password is required')
    const odd = await sh('sudo -Z true; sudo no-such-program; sudo -u nobody-here true')
    expect(odd.stderr).toContain('option -Z is not known')
    expect(odd.stderr).toContain('no-such-program: command not found')
    expect(odd.stderr).toContain('unknown user nobody-here')
    await asRoot('mv /etc/sudoers.d/tester /etc/kept')
    expect((await sh('sudo true')).stderr, 'the rule is what grants').toContain('a password is required')
    await asRoot('cat /etc/kept > /etc/sudoers.d/tester; chmod 0666 /etc/sudoers.d/tester')
    expect((await sh('sudo true')).stderr, 'a rule that others can write').toContain('a password is required')
    await asRoot('chmod 0440 /etc/sudoers.d/tester')
    expect((await sh('sudo true')).exit.code).toBe(0)
  })

  it('keeps the command in the tree of its caller', async () => {
    const ran = await sh(
      `sudo sh -c 'setsid sleep 7781 & setsid sleep 7781' & sleep 0.3; ps -eo args | grep -c '^sleep 7781'`,
    )
    expect(ran.stdout.trim()).toBe('2')
    expect(ran.exit.survivorsKilled).toBeGreaterThanOrEqual(3)
    expect((await run(['pgrep', '-fc', '^sleep 7781'])).stdout.trim()).toBe('0')
    const late = await sh('sudo sleep 7782', { timeoutMs: 300 })
    expect(late.exit).toMatchObject({ timedOut: true, signal: 'SIGKILL' })
    expect((await run(['pgrep', '-fc', '^sleep 7782'])).stdout.trim()).toBe('0')
  })

  it('forwards signals and ends as the command did', async () => {
    const ran = await sh(
      `sudo sh -c 'trap "echo term; exit 5" TERM; echo up; while :; do sleep 0.05; done' & sleep 0.4; kill -TERM $!; wait $!; echo $?`,
    )
    expect(ran.stdout).toBe('up\nterm\n5\n')
    expect((await sh(`sudo sh -c 'kill -USR1 $$'; echo $?`)).stdout).toBe('138\n')
    expect((await run([`${path}/sudo`, 'sh', '-c', 'kill -KILL $$'], { user })).exit).toMatchObject({
      signal: 'SIGKILL',
      code: null,
    })
  })

  it('hangs up on a command whose caller was killed', async () => {
    const ran = await sh(
      `sudo sh -c 'trap "echo hup; exit" HUP; echo up; while :; do sleep 0.05; done' & sleep 0.4; kill -KILL $!; sleep 0.4`,
    )
    expect(ran.stdout).toBe('up\nhup\n')
    const stubborn = await sh(
      `sudo sh -c 'trap "" HUP; exec sleep 7783' & sleep 0.4; kill -KILL $!; sleep 2.4; pgrep -fc '^sleep 7783'`,
    )
    expect(stubborn.stdout).toBe('0\n')
  })

  it('gives the command a terminal of its own, with job control and size', async () => {
    const start = {
      argv: ['sh'],
      user,
      cwd: '/',
      terminal: { columns: 91, rows: 33 },
      env: { PATH: `${path}:/usr/bin:/bin`, PS1: '> ' },
    }
    expect((await agent.call('PUT', '/v1/processes/tty', start)).status).toBe(201)
    const output = collect(openStream(agent.session, '/v1/processes/tty/output?follow=1'))
    const until = async (text: string) => said(await output.until((bytes) => said(bytes).includes(text)))
    const type = (text: string) => agent.call('POST', '/v1/processes/tty/stdin', Buffer.from(text))
    await type('sudo bash --norc\n')
    await type('stty size; id -u; sleep 7784; echo ended $?\n')
    await until('33 91\r\n0\r\n')
    const started = Date.now()
    await new Promise((resolve) => setTimeout(resolve, 300))
    await type('\x03')
    await type('echo code=$?\n')
    const seen = await until('code=130')
    expect(seen).not.toContain('no job control')
    expect(Date.now() - started).toBeLessThan(5_000)
    await type('exit 4\n')
    await until('\r\nexit\r\n> ')
    await type('echo left $?; stty -a | grep -c " echo "; exit\n')
    await until('left 4\r\n1\r\n')
  })

  it('survives hostile callers', async () => {
    const script = `
import socket, array, os, struct
def call(data, fds=(), close=True):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM); s.connect("\\0atoll-sudo")
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    s.sendmsg([data], rights)
    if not close: return s
    s.settimeout(10); got = s.recv(4096); s.close(); return got
body = b"root\\0/\\0\\x001\\0id\\0"
head = b"ASU1" + struct.pack(">I", len(body))
assert b"malformed" in call(b"GET / HTTP/1.1")
assert b"over" in call(b"ASU1" + struct.pack(">I", 1 << 30), (0, 1, 2))
assert b"malformed" in call(head + body)
assert b"malformed" in call(head + body, (0, 1))
assert b"malformed" in call(head + body, (0, 1, 2, 2))
assert b"malformed" in call(head + body, tuple([0] * 200))
assert b"malformed" in call(b"ASU1" + struct.pack(">I", 3) + b"abc", (0, 1, 2))
open_ones = [call(b"ASU1", close=False) for _ in range(40)]
child = os.fork()
if child == 0:
    os.execv("${path}/sudo", ["sudo", "echo", "alive"])
os.waitpid(child, 0)
try:
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM); s.connect("\\0atoll-sudo")
    s.sendmsg([head], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack("3i", os.getpid(), 0, 0))])
    print("forged")
except PermissionError: print("refused")`
    const ran = await run(['python3', '-c', script], { user })
    expect(ran.stderr).toBe('')
    expect(ran.stdout).toBe('alive\nrefused\n')
    expect((await agent.call('GET', '/v1/health')).status).toBe(200)
  }, 30_000)
})
