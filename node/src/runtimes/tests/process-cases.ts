import { expect } from 'vitest'
import type { Case } from '../conformance.ts'
import { type Booted, eventually } from './bench.ts'

/** Pids of the commands of a name inside, as the guest sees them. */
const alive = async (box: Booted, mark: string): Promise<number> => {
  const { stdout } = await box.run(
    `for p in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $p 2>/dev/null | grep -c '^sleep ${mark}' ; done | grep -c 1`,
  )
  return Number(stdout)
}

export const processCases: Readonly<Record<string, Case>> = {
  'runs a command and tells its code': async (bench) => {
    await using box = await bench.boot()
    expect((await box.run(['true'])).exit).toMatchObject({ code: 0, signal: null, timedOut: false })
    expect((await box.run(['false'])).exit).toMatchObject({ code: 1, signal: null })
    expect((await box.run('exit 77')).exit).toMatchObject({ code: 77, signal: null })
  },
  'tells the signal that ended a command': async (bench) => {
    await using box = await bench.boot()
    expect((await box.run('kill -9 $$')).exit).toMatchObject({ code: null, signal: 'SIGKILL', killed: false })
    await box.start('victim', ['sleep', '600'])
    await box.json('POST', '/v1/processes/victim/signal', { signal: 'SIGTERM', tree: false })
    const { body } = await box.json('GET', '/v1/processes/victim/wait')
    expect(body.exit).toMatchObject({ code: null, signal: 'SIGTERM', killed: true })
    const again = await box.json('POST', '/v1/processes/victim/signal', { signal: 'SIGTERM', tree: false })
    expect(again).toMatchObject({ status: 409, body: { code: 'process_ended' } })
  },
  'keeps the streams apart, with one counter': async (bench) => {
    await using box = await bench.boot()
    const ran = await box.run('echo out; echo err 1>&2')
    expect(ran).toMatchObject({ stdout: 'out\n', stderr: 'err\n', firstOffset: 0 })
    expect(ran.events.map(({ type }) => type)).toEqual(['started', 'exit'])
  },
  'gives env, directory and user': async (bench) => {
    await using box = await bench.boot()
    expect((await box.run('echo $GREETING $MORE; pwd', { env: { MORE: 'more' }, cwd: '/tmp' })).stdout).toBe(
      'hello more\n/tmp\n',
    )
    expect((await box.run('echo $HOME', { user: 'root' })).stdout).toBe('/root\n')
    expect((await box.run('echo $HOME')).stdout).toBe('/home/user\n')
  },
  'refuses what it cannot start, by name': async (bench) => {
    await using box = await bench.boot()
    const missing = await box.json('PUT', '/v1/processes/a', { argv: ['/no/such/program'] })
    expect(missing).toMatchObject({ status: 422, body: { code: 'exec_failed' } })
    const nowhere = await box.json('PUT', '/v1/processes/b', { argv: ['true'], cwd: '/no/such/folder' })
    expect(nowhere).toMatchObject({ status: 404, body: { code: 'path_not_found' } })
    const nobody = await box.json('PUT', '/v1/processes/c', { argv: ['true'], user: 'no-such-user' })
    expect(nobody).toMatchObject({ status: 400, body: { code: 'invalid_request' } })
  },
  'starts an id once, and refuses it for another command': async (bench) => {
    await using box = await bench.boot()
    const first = await box.json('PUT', '/v1/processes/once', { argv: ['sleep', '600'] })
    const second = await box.json('PUT', '/v1/processes/once', { argv: ['sleep', '600'] })
    expect([first.status, second.status]).toEqual([201, 200])
    expect(second.body.pid).toBe(first.body.pid)
    const other = await box.json('PUT', '/v1/processes/once', { argv: ['sleep', '601'] })
    expect(other).toMatchObject({ status: 409, body: { code: 'conflict' } })
  },
  'keeps the log for readers that come later, from an offset': async (bench) => {
    await using box = await bench.boot()
    await box.start('logger', 'echo 0123456789; exit 4')
    await box.json('GET', '/v1/processes/logger/wait')
    const ran = await box.read('/v1/processes/logger/output?offset=5&follow=1')
    expect(ran).toMatchObject({ stdout: '56789\n', firstOffset: 5, exit: { code: 4 } })
  },
  'marks the gap where the log was overwritten': async (bench) => {
    await using box = await bench.boot()
    await box.start('flood', 'yes 0123456789', { outputLimitBytes: 65_536 })
    await eventually('the ring is over', async () => {
      const { body } = await box.json('GET', '/v1/processes/flood')
      return body.log.start > 0
    })
    await box.json('POST', '/v1/processes/flood/signal', { signal: 'SIGKILL', tree: true })
    const ran = await box.read('/v1/processes/flood/output?offset=0&follow=1')
    expect(ran.events[0]).toMatchObject({ type: 'gap', from: 0, to: ran.firstOffset })
  },
  'takes standard input and its end': async (bench) => {
    await using box = await bench.boot()
    await box.start('reader', ['cat'], { stdin: 'pipe' })
    const sent = await box.guest.request({
      method: 'POST',
      path: '/v1/processes/reader/stdin?close=1',
      body: Buffer.from('some input'),
    })
    sent.body.destroy()
    expect(sent.status).toBe(200)
    const ran = await box.read('/v1/processes/reader/output?follow=1')
    expect(ran).toMatchObject({ stdout: 'some input', exit: { code: 0 } })
  },
  "ends a command at the guest's deadline": async (bench) => {
    await using box = await bench.boot()
    const { exit } = await box.run(['sleep', '600'], { timeoutMs: 200 })
    expect(exit).toMatchObject({ code: null, signal: 'SIGKILL', timedOut: true })
    expect(exit.durationMs).toBeLessThan(10_000)
  },
  'gives a terminal that can be resized': async (bench) => {
    await using box = await bench.boot()
    const ran = await box.run('test -t 0 && stty size', { terminal: { columns: 91, rows: 17 } })
    expect(ran).toMatchObject({ stdout: '17 91\r\n', exit: { code: 0 } })
  },
  'ends the whole tree, whatever it called': async (bench) => {
    await using box = await bench.boot()
    const escape = `setsid sh -c '(setsid sleep 7771 <&- >&- 2>&- &) ; sleep 7771' >/dev/null 2>&1 & sleep 7771`
    await box.start('tree', escape)
    await eventually('the tree stands', async () => (await alive(box, '7771')) === 3)
    await box.json('POST', '/v1/processes/tree/signal', { signal: 'SIGKILL', tree: true })
    expect(await alive(box, '7771')).toBe(0)
  },
  'ends what a command leaves behind, unless it is to be kept': async (bench) => {
    await using box = await bench.boot()
    const { exit } = await box.run('setsid sleep 7772 >/dev/null 2>&1 & exit 0')
    expect(exit).toMatchObject({ code: 0, survivorsKilled: 1 })
    expect(await alive(box, '7772')).toBe(0)
    await box.run('setsid sleep 7773 >/dev/null 2>&1 & exit 0', { survivors: 'keep' })
    expect(await alive(box, '7773')).toBe(1)
  },
  'answers after kill -9 -1 of everything inside': async (bench) => {
    await using box = await bench.boot()
    await box.run('kill -9 -1', { user: 'root' })
    expect((await box.run(['true'])).exit.code).toBe(0)
  },
}
