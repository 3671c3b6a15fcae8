import { chmodSync, existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type RunningAgent, identity, startAgent } from './agent.ts'
import { runOf } from './output.ts'

describe.each(['cgroup2', 'supervisor'] as const)('quiesce, processes held by %s', (containment) => {
  let agent: RunningAgent
  beforeAll(async () => {
    agent = await startAgent({ containment })
    chmodSync(agent.folder, 0o777)
  })
  afterAll(() => agent[Symbol.asyncDispose]())

  const quiesce = async (forMs = 60_000) => (await agent.call('POST', '/v1/quiesce', { forMs })).json()
  const proceed = async () => (await agent.call('POST', '/v1/continue')).json()
  const health = async () => (await agent.call('GET', '/v1/health')).json()
  const start = (id: string, argv: string[], more = {}) =>
    agent.call('PUT', `/v1/processes/${id}`, { argv, ...more })
  const end = (id: string) => agent.call('DELETE', `/v1/processes/${id}`)
  const waited = async (id: string) => (await agent.call('GET', `/v1/processes/${id}/wait`)).json()
  const file = (name: string) => join(agent.folder, name)
  const counting = (name: string) => [
    'sh',
    '-c',
    `i=0; while :; do i=$((i+1)); echo $i > ${file(name)}; sleep 0.005; done`,
  ]
  const count = (name: string) => Number(readFileSync(file(name), 'utf8'))

  it('stops everything, and continues it', async () => {
    await start('counter', counting('n'))
    await expect.poll(() => existsSync(file('n')) && count('n')).toBeGreaterThan(3)
    const { stopped } = await quiesce()
    expect(stopped).toBeGreaterThanOrEqual(1)
    const before = statSync(file('n')).mtimeMs
    expect(await health()).toMatchObject({ quiesced: true, adopted: true })
    await new Promise((resolve) => setTimeout(resolve, 200))
    expect(statSync(file('n')).mtimeMs).toBe(before)
    expect(await quiesce()).toEqual({ stopped })
    expect(await proceed()).toEqual({ continued: stopped })
    await expect.poll(() => statSync(file('n')).mtimeMs).toBeGreaterThan(before)
    expect(await proceed()).toEqual({ continued: 0 })
    await end('counter')
  })

  it('leaves alone what stood before', async () => {
    await start('stands', ['sh', '-c', `echo a > ${file('s')}; kill -STOP $$; echo b > ${file('s')}`])
    await expect.poll(() => existsSync(file('s'))).toBe(true)
    const pid = (await agent.call('GET', '/v1/processes/stands')).json().pid
    const state = async () =>
      runOf(
        (
          await agent.call('PUT', `/v1/processes/look-${Math.random().toString(36).slice(2)}?follow=1`, {
            argv: ['sh', '-c', `cut -d' ' -f3 /proc/${pid}/stat`],
          })
        ).body,
      ).stdout.trim()
    await expect.poll(state).toBe('T')
    await quiesce()
    await proceed()
    expect(await state()).toBe('T')
    await agent.call('POST', '/v1/processes/stands/signal', { signal: 'SIGCONT' })
    expect((await waited('stands')).exit.code).toBe(0)
  })

  it('stops all threads and what forks without end', async () => {
    const forker = `import os,threading,time
open(${JSON.stringify(file('ready'))},'w').close()
def spin():
  while True: pass
threading.Thread(target=spin,daemon=True).start()
while True:
  pid=os.fork()
  if pid==0:
    if os.fork()==0: time.sleep(0.01)
    os._exit(0)
  os.waitpid(pid,0)`
    await start('forker', ['python3', '-c', forker])
    await expect.poll(() => existsSync(file('ready'))).toBe(true)
    await quiesce()
    const { cpu, processes } = (await agent.call('GET', '/v1/metrics')).json()
    await new Promise((resolve) => setTimeout(resolve, 300))
    const after = (await agent.call('GET', '/v1/metrics')).json()
    expect(after.processes.count).toBe(processes.count)
    expect(after.cpu.usedMs - cpu.usedMs).toBeLessThanOrEqual(10)
    await proceed()
    await expect
      .poll(async () => (await agent.call('GET', '/v1/metrics')).json().cpu.usedMs)
      .toBeGreaterThan(after.cpu.usedMs + 50)
    await end('forker')
  })

  it('lets what is started meanwhile wait', async () => {
    await quiesce()
    let answered = false
    const started = start('late', ['true']).then((answer) => {
      answered = true
      return answer
    })
    expect((await health()).quiesced).toBe(true)
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(answered).toBe(false)
    await proceed()
    expect((await started).status).toBe(201)
    expect((await waited('late')).exit.code).toBe(0)
  })

  it('does not count the time that it stood', async () => {
    await start('timed', ['sleep', '60'], { timeoutMs: 1_500 })
    await quiesce()
    await new Promise((resolve) => setTimeout(resolve, 2_500))
    expect((await agent.call('GET', '/v1/processes/timed')).json().state).toBe('running')
    await proceed()
    const { exit } = await waited('timed')
    expect(exit).toMatchObject({ timedOut: true, signal: 'SIGKILL' })
    expect(exit.durationMs).toBeGreaterThanOrEqual(1_400)
    expect(exit.durationMs).toBeLessThan(2_400)
  })

  it('continues by itself when nobody asks, and not before', async () => {
    await start('orphan', counting('o'))
    await expect.poll(() => existsSync(file('o'))).toBe(true)
    await quiesce(600)
    expect((await health()).quiesced).toBe(true)
    await expect.poll(async () => (await health()).quiesced, { timeout: 3_000 }).toBe(false)
    const before = statSync(file('o')).mtimeMs
    await expect.poll(() => statSync(file('o')).mtimeMs).toBeGreaterThan(before)
    // A later request is not ended by the switch of an earlier one.
    await quiesce(300)
    await quiesce(5_000)
    await new Promise((resolve) => setTimeout(resolve, 600))
    expect((await health()).quiesced).toBe(true)
    await proceed()
    await end('orphan')
  })

  it('survives the end of the session in the middle of the call', async () => {
    await start('many', ['sh', '-c', 'for i in $(seq 40); do sleep 100 & done; wait'])
    const stream = agent.session.request({ ':method': 'POST', ':path': '/v1/quiesce', ':authority': 'guest' })
    stream.on('error', () => {})
    stream.end(JSON.stringify({ forMs: 60_000 }))
    // Calls begin in order: when the later one is answered, the earlier one is under way.
    await health()
    await agent.reopen()
    await expect.poll(async () => (await health()).quiesced).toBe(true)
    expect((await proceed()).continued).toBeGreaterThanOrEqual(1)
    await end('many')
  })

  it('kills a stopped process and its tree', async () => {
    await start('victim', ['sh', '-c', 'sleep 100 & sleep 100'])
    await quiesce()
    expect((await end('victim')).json().exit).toMatchObject({ signal: 'SIGKILL', killed: true })
    await proceed()
  })

  it('refuses what it cannot do', async () => {
    for (const forMs of [0, 600_001, -1, 'x'])
      expect((await agent.call('POST', '/v1/quiesce', { forMs })).json().code).toBe('invalid_request')
  })
})

describe('another identity', () => {
  it('is told by generation and hooks, once', async () => {
    await using agent = await startAgent()
    chmodSync(agent.folder, 0o755)
    const adopt = (more: object) => agent.call('POST', '/v1/adopt', { ...identity(), ...more })
    const run = async (script: string) =>
      runOf(
        (
          await agent.call('PUT', `/v1/processes/r${Math.random().toString(36).slice(2)}?follow=1`, {
            argv: ['sh', '-c', script],
          })
        ).body,
      ).stdout
    const seen = join(agent.folder, 'seen')
    const hook = (name: string, body: string, mode: string) =>
      run(`mkdir -p /etc/atoll/hooks/restored.d && cd /etc/atoll/hooks/restored.d &&
        printf '#!/bin/sh\\n%s\\n' '${body}' > ${name} && chmod ${mode} ${name}`)
    await hook('20-second', `echo second $ATOLL_GENERATION $ATOLL_REASON $(id -u) >> ${seen}`, '755')
    await hook('10-first', `echo first >> ${seen}; exit 3`, '755')
    await hook('15-not', `echo not executable >> ${seen}`, '644')
    await hook('16-not', `echo anyone may write it >> ${seen}`, '757')
    await agent.call('POST', '/v1/quiesce', { forMs: 10_000 })
    const answer = await adopt({ sandboxId: 'sbx_child', hostname: 'child', generation: 7, reason: 'fork' })
    expect(answer.status).toBe(200)
    expect((await agent.call('GET', '/v1/health')).json()).toMatchObject({
      identityGeneration: 7,
      sandboxId: 'sbx_child',
    })
    expect(existsSync(seen)).toBe(false)
    await agent.call('POST', '/v1/continue')
    await expect.poll(() => existsSync(seen) && readFileSync(seen, 'utf8')).toBe('first\nsecond 7 fork 0\n')
    expect(await run('cat /run/atoll/generation /etc/hostname')).toBe('7\nchild\n')
    await expect.poll(() => agent.log()).toContain('exit code 3')
    await agent.call('POST', '/v1/continue')
    await adopt({ generation: 7, reason: 'resize' })
    await agent.call('POST', '/v1/continue')
    expect(readFileSync(seen, 'utf8').split('\n')).toHaveLength(3)
  })

  it('keeps limits that nobody can have from being promised', async () => {
    await using agent = await startAgent({ openFiles: 4_096, noNewPrivileges: true })
    const answer = await agent.call('POST', '/v1/adopt', { ...identity(), limits: { openFiles: 2 ** 40 } })
    expect(answer.json()).toMatchObject({ code: 'invalid_request' })
    expect(answer.json().message).toContain('openFiles')
  })
})
