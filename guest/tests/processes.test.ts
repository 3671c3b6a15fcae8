import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type RunningAgent, startAgent } from './agent.ts'
import { collect, framesOf, openStream, runOf } from './output.ts'

describe.each(['cgroup2', 'supervisor'] as const)('processes held by %s', (containment) => {
  let agent: RunningAgent
  let count = 0

  beforeAll(async () => {
    agent = await startAgent({ containment, adopt: { env: { FROM_SANDBOX: 'yes' } } })
    expect(agent.log(), 'the containment under test').toContain(`held by ${containment}`)
  })
  afterAll(() => agent[Symbol.asyncDispose]())

  const run = async (argv: string[], more: Record<string, unknown> = {}) => {
    count += 1
    const answer = await agent.call('PUT', `/v1/processes/p${count}?follow=1`, { argv, ...more })
    if (answer.status !== 201) throw new Error(answer.body.toString())
    return runOf(answer.body)
  }
  const sh = (script: string, more: Record<string, unknown> = {}) => run(['sh', '-c', script], more)
  const pgrep = async (mark: string) => (await sh(`ps -eo args | grep -c '^${mark}'`)).stdout.trim()

  it('gives output, code and environment', async () => {
    const ran = await sh('echo out; echo err >&2; echo $FROM_SANDBOX $MINE $HOME $USER; pwd; exit 3', {
      env: { MINE: 'also' },
      cwd: '/tmp',
    })
    expect(ran.stdout).toBe('out\nyes also /root root\n/tmp\n')
    expect(ran.stderr).toBe('err\n')
    expect(ran.exit).toMatchObject({ code: 3, signal: null, timedOut: false, killed: false, oom: false })
    expect(ran.events[0].type).toBe('started')
  })

  it('runs as another user, without capabilities that lift limits', async () => {
    const ran = await sh('id -u; id -g; grep CapBnd /proc/self/status; grep CapEff /proc/self/status', {
      user: '1234:4321',
      cwd: '/',
    })
    const [uid, gid, bounding, effective] = ran.stdout.trim().split('\n')
    expect([uid, gid]).toEqual(['1234', '4321'])
    expect(BigInt(`0x${bounding?.split(/\s+/)[1]}`) & (1n << 21n), 'CAP_SYS_ADMIN').toBe(0n)
    expect(BigInt(`0x${effective?.split(/\s+/)[1]}`)).toBe(0n)
    const root = await sh('grep CapEff /proc/self/status')
    const rights = BigInt(`0x${root.stdout.trim().split(/\s+/)[1]}`)
    expect(rights & (1n << 21n), "root's CAP_SYS_ADMIN").toBe(0n)
    expect(rights & 1n, "root's CAP_CHOWN").toBe(1n)
  })

  it('refuses by name what cannot be started', async () => {
    const start = async (body: unknown, id = 'refused') =>
      (await agent.call('PUT', `/v1/processes/${id}`, body)).json()
    expect(await start({ argv: ['no-such-program'] })).toMatchObject({
      code: 'exec_failed',
      details: { errno: 'ENOENT' },
    })
    expect(await start({ argv: ['/etc/passwd'] })).toMatchObject({
      code: 'exec_failed',
      details: { errno: 'EACCES' },
    })
    expect(await start({ argv: ['true'], cwd: '/no/such' })).toMatchObject({ code: 'path_not_found' })
    expect(await start({ argv: ['true'], user: 'nobody-here' })).toMatchObject({ code: 'invalid_request' })
    expect(await start({ argv: [] })).toMatchObject({ code: 'invalid_request' })
    expect(await start({ argv: ['true'] }, 'bad.id')).toMatchObject({ code: 'invalid_request' })
    expect((await agent.call('GET', '/v1/processes/refused')).json()).toMatchObject({
      code: 'process_not_found',
    })
  })

  it('starts the same id once', async () => {
    const body = { argv: ['sh', '-c', 'echo $$'] }
    const [first, second] = await Promise.all([
      agent.call('PUT', '/v1/processes/once', body),
      agent.call('PUT', '/v1/processes/once', body),
    ])
    expect([first.status, second.status].sort((a, b) => a - b)).toEqual([200, 201])
    expect(first.json().pid).toBe(second.json().pid)
    const other = await agent.call('PUT', '/v1/processes/once', { argv: ['true'] })
    expect(other.status).toBe(409)
  })

  it('ends what escaped by setsid and double fork', async () => {
    const ran = await sh(
      `(setsid sh -c 'sleep 7771 & exec sleep 7771' >/dev/null 2>&1 </dev/null &) ; sleep 0.2; ps -eo args | grep -c '^sleep 7771'`,
    )
    expect(ran.stdout.trim(), 'the escape has to work to be ended').toBe('2')
    expect(ran.exit.survivorsKilled).toBeGreaterThanOrEqual(2)
    expect(await pgrep('sleep 7771')).toBe('0')
  })

  it('keeps survivors when asked, and ends them with the record', async () => {
    const id = `keep-${containment}`
    const script = `(setsid sleep 7772 >/dev/null 2>&1 </dev/null &) ; sleep 0.2`
    await agent.call('PUT', `/v1/processes/${id}`, { argv: ['sh', '-c', script], survivors: 'keep' })
    const ended = (await agent.call('GET', `/v1/processes/${id}/wait`)).json()
    expect(ended.exit).toMatchObject({ code: 0, survivorsKept: 1, survivorsKilled: 0 })
    expect(await pgrep('sleep 7772')).toBe('1')
    expect((await agent.call('DELETE', `/v1/processes/${id}`)).status).toBe(200)
    expect(await pgrep('sleep 7772')).toBe('0')
  })

  it('keeps its own deadline, for the whole tree', async () => {
    const ran = await sh(`setsid sleep 7773 & sleep 7773`, { timeoutMs: 200 })
    expect(ran.exit).toMatchObject({ signal: 'SIGKILL', code: null, timedOut: true, killed: false })
    expect(ran.exit.durationMs).toBeGreaterThanOrEqual(200)
    expect(await pgrep('sleep 7773')).toBe('0')
  })

  it('signals one or all, and says when it is too late', async () => {
    const id = `signal-${containment}`
    const script = `trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done`
    await agent.call('PUT', `/v1/processes/${id}`, { argv: ['sh', '-c', script] })
    await collect(openStream(agent.session, `/v1/processes/${id}/output?follow=1`)).until((bytes) =>
      bytes.includes('ready'),
    )
    const sent = await agent.call('POST', `/v1/processes/${id}/signal`, { signal: 'SIGTERM' })
    expect(sent.json()).toEqual({ delivered: 1 })
    const ended = (await agent.call('GET', `/v1/processes/${id}/wait`)).json()
    expect(ended.exit).toMatchObject({ code: 9, signal: null, killed: true })
    const late = await agent.call('POST', `/v1/processes/${id}/signal`, { signal: 'SIGTERM' })
    expect(late.json().code).toBe('process_ended')
  })

  it('kills a fork bomb whole', async () => {
    const id = `bomb-${containment}`
    const script =
      'i=0; while [ $i -lt 60 ]; do (setsid sh -c "while :; do (sleep 7774 & wait); done" &) ; i=$((i+1)); done; sleep 7774'
    await agent.call('PUT', `/v1/processes/${id}`, { argv: ['sh', '-c', script] })
    await expect.poll(async () => Number(await pgrep('sleep 7774')), { timeout: 10_000 }).toBeGreaterThan(30)
    const sent = await agent.call('POST', `/v1/processes/${id}/signal`, { signal: 'SIGKILL', tree: true })
    expect(sent.json().delivered).toBeGreaterThan(60)
    expect(await pgrep('sleep 7774')).toBe('0')
  })

  it('survives kill -9 -1 by root', async () => {
    await sh('kill -9 -1')
    const health = await agent.call('GET', '/v1/health')
    expect(health.json()).toMatchObject({ adopted: true, generation: 2, quiesced: false })
    expect((await sh('echo alive')).stdout).toBe('alive\n')
  })

  it('steals no exit code from 2,000 children and their orphans', { timeout: 120_000 }, async () => {
    const codes = Array.from({ length: 2_000 }, () => Math.floor(Math.random() * 256))
    const wrong: string[] = []
    const one = async (code: number, index: number) => {
      const script = index % 3 === 0 ? `(true &) ; exit ${code}` : `exit ${code}`
      const answer = await agent.call('PUT', `/v1/processes/c${index}?follow=1`, {
        argv: ['sh', '-c', script],
      })
      const exit = runOf(answer.body).exit
      if (exit?.code !== code) wrong.push(`${index}: ${exit?.code} instead of ${code}`)
    }
    const queue = [...codes.entries()]
    await Promise.all(
      Array.from({ length: 20 }, async () => {
        for (let next = queue.pop(); next !== undefined; next = queue.pop()) await one(next[1], next[0])
      }),
    )
    expect(wrong).toEqual([])
    const { processes } = (await agent.call('GET', '/v1/metrics')).json()
    expect(processes.zombies).toBeLessThan(5)
    const kept = (await agent.call('GET', '/v1/processes')).json().processes
    expect(kept.length).toBeLessThanOrEqual(1_024)
  })

  it('gives the log again from an offset, in a new session', async () => {
    const id = `log-${containment}`
    await agent.call('PUT', `/v1/processes/${id}`, {
      argv: ['sh', '-c', 'printf abc; sleep 0.5; printf def >&2'],
    })
    await collect(openStream(agent.session, `/v1/processes/${id}/output?follow=1`)).until((bytes) =>
      bytes.includes('abc'),
    )
    await agent.reopen()
    const answer = await agent.call('GET', `/v1/processes/${id}/output?offset=2&follow=1`)
    const frames = framesOf(answer.body).filter((frame) => frame.kind < 3)
    expect(frames.map((frame) => [frame.kind, frame.offset, frame.payload.toString()])).toEqual([
      [1, 2, 'c'],
      [2, 3, 'def'],
    ])
    expect(runOf(answer.body).exit.code).toBe(0)
    const copied = await agent.call('GET', `/v1/processes/${id}/output`)
    expect(runOf(copied.body).stdout).toBe('abc')
  })

  it('marks the gap that the ring left', async () => {
    const id = `gap-${containment}`
    const body = { argv: ['sh', '-c', 'head -c 300000 /dev/zero; printf end'], outputLimitBytes: 65_536 }
    await agent.call('PUT', `/v1/processes/${id}`, body)
    const record = (await agent.call('GET', `/v1/processes/${id}/wait`)).json()
    expect(record.log).toEqual({ start: 300_003 - 65_536, end: 300_003 })
    const ran = runOf((await agent.call('GET', `/v1/processes/${id}/output?offset=0&follow=1`)).body)
    expect(ran.events[0]).toEqual({ type: 'gap', from: 0, to: record.log.start })
    expect(ran.stdout.length).toBe(65_536)
    expect(ran.stdout.endsWith('end')).toBe(true)
  })

  it('loses nothing to a follower, however much comes', async () => {
    const ran = await sh('head -c 20000000 /dev/zero', { outputLimitBytes: 65_536 })
    expect(ran.stdout.length).toBe(20_000_000)
    expect(ran.events.map((event) => event.type)).toEqual(['started', 'exit'])
  })

  it('streams stdin with its end', async () => {
    const id = `stdin-${containment}`
    await agent.call('PUT', `/v1/processes/${id}`, { argv: ['wc', '-c'], stdin: 'pipe' })
    const big = Buffer.alloc(3_000_000, 'x')
    expect((await agent.call('POST', `/v1/processes/${id}/stdin`, big)).json()).toEqual({
      bytesWritten: big.length,
    })
    await agent.call('POST', `/v1/processes/${id}/stdin?close=1`, Buffer.from('yz'))
    const ran = runOf((await agent.call('GET', `/v1/processes/${id}/output?follow=1`)).body)
    expect(ran.stdout.trim()).toBe(String(big.length + 2))
    const late = await agent.call('POST', `/v1/processes/${id}/stdin`, Buffer.from('x'))
    expect(late.json().code).toBe('stdin_closed')
  })

  it('has a terminal that can be resized', async () => {
    const id = `tty-${containment}`
    const script = `trap 'stty size; exit 0' WINCH; stty size; while :; do sleep 0.05; done`
    await agent.call('PUT', `/v1/processes/${id}`, {
      argv: ['sh', '-c', script],
      terminal: { columns: 80, rows: 24 },
    })
    const seenSoFar = collect(openStream(agent.session, `/v1/processes/${id}/output?follow=1`))
    await seenSoFar.until((bytes) => bytes.includes('24 80'))
    const resized = await agent.call('POST', `/v1/processes/${id}/resize`, { columns: 132, rows: 50 })
    expect(resized.status).toBe(200)
    await seenSoFar.until((bytes) => bytes.includes('50 132'))
    const ended = (await agent.call('GET', `/v1/processes/${id}/wait`)).json()
    expect(ended).toMatchObject({ terminal: true, exit: { code: 0 } })
  })

  it('lets a stalled follower go, and the process on', { timeout: 60_000 }, async () => {
    const id = `stall-${containment}`
    const body = { argv: ['sh', '-c', 'head -c 30000000 /dev/zero; printf end'], outputLimitBytes: 65_536 }
    await agent.call('PUT', `/v1/processes/${id}`, {
      ...body,
      argv: ['sh', '-c', `sleep 0.3; ${body.argv[2]}`],
    })
    const stalled = openStream(agent.session, `/v1/processes/${id}/output?follow=1`)
    stalled.pause()
    const started = Date.now()
    const ended = (await agent.call('GET', `/v1/processes/${id}/wait`)).json()
    expect(ended.exit.code).toBe(0)
    expect(Date.now() - started, 'evicted after its ten seconds, not before').toBeGreaterThan(9_000)
    const bytes: Buffer[] = []
    for await (const chunk of stalled) bytes.push(chunk as Buffer)
    const ran = runOf(Buffer.concat(bytes))
    expect(ran.events.at(-1)).toMatchObject({ type: 'evicted', reason: 'stalled' })
  })
})

it('refuses to start anything before it was adopted', async () => {
  await using agent = await startAgent({ adopt: false })
  const answer = await agent.call('PUT', '/v1/processes/early', { argv: ['true'] })
  expect(answer.status).toBe(409)
  expect(answer.json().code).toBe('not_adopted')
})

it('holds no descriptors of what has ended', async () => {
  await using agent = await startAgent({ openFiles: 40 })
  for (let number = 0; number < 60; number += 1) {
    const id = `short${number}`
    expect((await agent.call('PUT', `/v1/processes/${id}`, { argv: ['true'] })).status, id).toBe(201)
    expect((await agent.call('GET', `/v1/processes/${id}/wait`)).json().exit.code).toBe(0)
  }
  expect((await agent.call('GET', '/v1/processes')).json().processes).toHaveLength(60)
})

it('is small', async () => {
  await using agent = await startAgent()
  const { agent: own } = (await agent.call('GET', '/v1/metrics')).json()
  expect(own.residentBytes).toBeLessThan(2.5 * 1024 * 1024)
})
