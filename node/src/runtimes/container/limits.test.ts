import { randomBytes } from 'node:crypto'
import { afterAll, describe, expect, it } from 'vitest'
import { testHost } from '../../host/test-host.ts'
import { type Booted, makeBench } from '../tests/bench.ts'
import { containerDriver } from './driver.ts'

const { launcherPath, agentPath, imagePath, skip } = testHost()
const common = { launcherPath, agentPath, stateFolder: '/run/atoll-test/crun', cgroupParent: 'atoll-test' }
const patienceMs = 10_000

/** How many processes there can be at once, the asking one included, and whether the exit names the limit. */
const most = async (box: Booted, user: string, tries = 1_000): Promise<readonly [number, boolean]> => {
  const code = [
    'import os, signal',
    'made = []',
    `for _ in range(${tries} - 1):`,
    '    try: pid = os.fork()',
    '    except OSError: break',
    '    if pid == 0: signal.pause()',
    '    made.append(pid)',
    'for pid in made: os.kill(pid, 9); os.waitpid(pid, 0)',
    'print(len(made) + 1)',
  ].join('\n')
  const { stdout, exit } = await box.run(['python3', '-c', code], { user, timeoutMs: 30_000 })
  return [Number(stdout), exit.limits.includes('processes')]
}

const resize = async (box: Booted, processes: number): Promise<void> => {
  const inForce = await box.machine.resize({ processes }, AbortSignal.timeout(patienceMs))
  expect(inForce.processes).toBe(processes)
  const { id: sandboxId, hostname, limits } = box.spec
  const { status } = await box.json('POST', '/v1/adopt', {
    sandboxId,
    generation: 1,
    reason: 'resize',
    hostname,
    timeUnixMs: Date.now(),
    entropy: randomBytes(32).toString('base64'),
    env: {},
    limits: { ...limits, processes, cpuCount: 1 },
    defaultUser: 'user',
    workdir: '/home/user',
  })
  expect(status).toBe(200)
}

describe.skipIf(skip !== undefined)(`a container's number of processes (${skip ?? 'runs'})`, () => {
  const bench = makeBench(() => containerDriver(common), imagePath)
  afterAll(() => bench[Symbol.asyncDispose]())

  it('is exact, and follows a resize up and down', async () => {
    await using box = await bench.boot({ limits: { memoryBytes: 1024 ** 3 } })
    for (const processes of [box.spec.limits.processes, 200, 20]) {
      if (processes !== box.spec.limits.processes) await resize(box, processes)
      for (const user of ['user', 'root']) {
        expect([user, await most(box, user, processes)]).toEqual([user, [processes, false]])
        expect([user, await most(box, user)]).toEqual([user, [processes, true]])
      }
    }
  })

  it('is told of what sudo started, too', async () => {
    await using box = await bench.boot()
    const bomb = 'import os, signal\nwhile True:\n    if os.fork() == 0: signal.pause()'
    const { exit, stderr } = await box.run(['sudo', 'python3', '-c', bomb], { timeoutMs: 30_000 })
    expect(stderr).toContain('Resource temporarily unavailable')
    expect(exit.limits).toContain('processes')
  })

  it('is told to those alone that lived when a fork was refused', async () => {
    await using box = await bench.boot()
    await box.start('bystander', ['sleep', '30'])
    expect(await most(box, 'user')).toEqual([box.spec.limits.processes - 1, true])
    await box.start('later', ['sleep', '30'])
    await box.json('POST', '/v1/processes/bystander/signal', { signal: 'SIGTERM' })
    await box.json('POST', '/v1/processes/later/signal', { signal: 'SIGTERM' })
    const limitsOf = async (id: string) =>
      (await box.json('GET', `/v1/processes/${id}/wait`)).body.exit?.limits
    expect([await limitsOf('bystander'), await limitsOf('later')]).toEqual([['processes'], []])
  })

  it('shows its counter to the agent alone', async () => {
    await using box = await bench.boot()
    const look =
      'ls -A /.atoll/pids /.atoll/memory 2>/dev/null | grep events; grep -c atoll /proc/self/mountinfo; env | grep ATOLL_'
    for (const user of ['user', 'root'])
      expect([user, (await box.run(look, { user })).stdout]).toEqual([user, '0\n'])
  })
})
