import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, statSync } from 'node:fs'
import { connect as connectHttp2 } from 'node:http2'
import { connect, request } from './sockets.ts'
import { promisify } from 'node:util'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { Sandbox } from '@atoll/sdk'
import { attackEach } from './battery.ts'
import { sandboxFolder } from './sandbox-folder.ts'

/** Connects as an unprivileged user of the host, from inside the folder: modes of folders do not stop it. */
const connectAsOther = `
import os, socket, sys
os.chdir(sys.argv[1])
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
s = socket.socket(socket.AF_UNIX); s.settimeout(3)
try:
    s.connect(sys.argv[2]); s.sendall(b'{"do":"status"}\\n')
    print("answered" if s.recv(1) else "closed")
except (OSError, socket.timeout) as e: print(type(e).__name__)
`
const h2Preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
const garbage = [
  { name: 'random bytes', bytes: randomBytes(200_000) },
  {
    name: 'HTTP/1.1',
    bytes: Buffer.from('POST /v1/adopt HTTP/1.1\r\nhost: guest\r\ncontent-length: 2\r\n\r\n{}'),
  },
  { name: 'half a preface', bytes: Buffer.from(h2Preface.slice(0, 10)) },
  {
    name: 'an oversize HTTP/2 frame',
    bytes: Buffer.concat([
      Buffer.from(h2Preface),
      Buffer.from('ffffff0400000000 00'.replace(' ', ''), 'hex'),
      randomBytes(70_000),
    ]),
  },
  {
    name: 'an unknown HTTP/2 frame',
    bytes: Buffer.concat([Buffer.from(h2Preface), Buffer.from('000004ee00000000010a0b0c0d', 'hex')]),
  },
  {
    name: 'settings flood',
    bytes: Buffer.concat([
      Buffer.from(h2Preface),
      ...Array.from({ length: 20_000 }, () => Buffer.from('000000040000000000', 'hex')),
    ]),
  },
  {
    name: 'header bomb',
    bytes: Buffer.concat([
      Buffer.from(h2Preface),
      Buffer.from('000000040000000000', 'hex'),
      ...Array.from({ length: 400 }, (_, n) =>
        Buffer.concat([
          Buffer.from(`004000${n === 0 ? '01' : '09'}0000000001`, 'hex'),
          Buffer.alloc(16_384, 0x40),
        ]),
      ),
    ]),
  },
] as const

attackEach('agent and shim sockets', ({ create, stack }) => {
  let sandbox: Sandbox
  let folder: string
  const fresh = async (): Promise<void> => {
    sandbox = await create()
    folder = sandboxFolder(stack(), sandbox.id)
  }
  beforeAll(fresh)
  // An attack that worked leaves a sandbox that answers nobody: the next one is judged on another.
  afterEach(async ({ task }) => {
    if (task.result?.state === 'fail') await fresh()
  })
  const alive = async (): Promise<void> => {
    expect((await sandbox.run('echo alive', { deadlineMs: 8_000 })).stdout).toBe('alive\n')
  }

  it('are 0600 in a 0700 folder', () => {
    expect(statSync(folder).mode & 0o777).toBe(0o700)
    for (const name of ['agent.sock', 'shim.sock'])
      expect(statSync(`${folder}/${name}`).mode & 0o777).toBe(0o600)
  })

  describe.each(['agent.sock', 'shim.sock'])('%s', (name) => {
    const asOther = async (): Promise<string> =>
      (await promisify(execFile)('python3', ['-c', connectAsOther, folder, name])).stdout.trim()

    it('refuses another uid of the host', async () => {
      expect(await asOther()).toBe('PermissionError')
    })

    it('refuses it by the peer, even when the modes are wide open', async () => {
      chmodSync(`${folder}/${name}`, 0o666)
      chmodSync(folder, 0o711)
      try {
        expect(await asOther()).toMatch(/^(closed|ConnectionResetError|BrokenPipeError)$/)
      } finally {
        chmodSync(folder, 0o700)
        chmodSync(`${folder}/${name}`, 0o600)
      }
      await alive()
    })
  })

  it('negative twin: root of the host is answered by both', async () => {
    expect(await request(`${folder}/shim.sock`, '{"do":"status"}\n')).toContain('"ok":true')
    const health = await healthOver(`${folder}/agent.sock`)
    expect(health).toContain('"generation":2')
    await alive()
  })

  it.each(garbage)(
    'the agent survives $name',
    async ({ bytes }) => {
      const socket = await connect(`${folder}/agent.sock`)
      socket.write(bytes)
      await new Promise((resolve) => setTimeout(resolve, 200))
      socket.destroy()
      await alive()
    },
    30_000,
  )

  it('the agent survives clients that come, say half and go', async () => {
    for (let n = 0; n < 40; n += 1) {
      const socket = await connect(`${folder}/agent.sock`)
      socket.write(h2Preface.slice(0, n % 24))
      socket.destroy()
    }
    await alive()
  }, 30_000)

  it('the shim answers nonsense with an error and goes on', async () => {
    const path = `${folder}/shim.sock`
    for (const line of [
      'garbage\n',
      '{"do":"evil"}\n',
      '{"do":5}\n',
      '[]\n',
      '{"do":"resize","memoryBytes":-1}\n',
    ])
      expect(await request(path, line)).toContain('"ok":false')
    expect(await request(path, `${'x'.repeat(200_000)}\n`)).not.toContain('"ok":true')
    expect(await request(path, '{"do":"status"}\n')).toContain('"ok":true')
    await alive()
  }, 30_000)
})

const healthOver = (path: string): Promise<string> =>
  new Promise((resolve, reject) => {
    void connect(path).then((socket) => {
      const session = connectHttp2('http://guest', { createConnection: () => socket })
      session.on('error', reject)
      const stream = session.request({ ':path': '/v1/health' })
      let text = ''
      stream.on('data', (chunk: Buffer) => {
        text += chunk.toString()
      })
      stream.on('end', () => {
        session.destroy()
        resolve(text)
      })
      stream.on('error', reject)
    }, reject)
  })
