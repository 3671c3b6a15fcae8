import { execFile } from 'node:child_process'
import { createServer, type Server } from 'node:net'
import { networkInterfaces } from 'node:os'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Sandbox } from '@atoll/sdk'
import { attackEach } from './battery.ts'

/** Tries a TCP connection and says what it came to, and how long that took. */
const connect = (host: string, port: number): string => `
import socket, time, errno
started = time.monotonic()
family = socket.AF_INET6 if ":" in "${host}" else socket.AF_INET
try:
    with socket.socket(family) as s:
        s.settimeout(4)
        s.connect(("${host}", ${port}))
        print("connected")
except socket.timeout: print("hung")
except OSError as e: print(errno.errorcode.get(e.errno, "OSError"))
`
const refused = [
  'ENETUNREACH',
  'EHOSTUNREACH',
  'ECONNREFUSED',
  'EADDRNOTAVAIL',
  'EAFNOSUPPORT',
  'EACCES',
  'EPERM',
]

attackEach('network', ({ stack, create }) => {
  let sandbox: Sandbox
  let host: Server
  let port: number
  let reached = 0
  beforeAll(async () => {
    host = createServer((socket) => {
      reached += 1
      socket.destroy()
    })
    await new Promise<void>((resolve) => host.listen(0, '0.0.0.0', resolve))
    port = (host.address() as { port: number }).port
    sandbox = await create()
  })
  afterAll(() => void host?.close())
  const python = async (code: string): Promise<string> =>
    (await sandbox.run(['python3', '-c', code], { timeoutMs: 20_000 })).stdout.trim()

  it('has no interface but loopback', async () => {
    expect(await python('import socket; print(",".join(name for _, name in socket.if_nameindex()))')).toBe(
      'lo',
    )
  })

  it('has no route that leaves', async () => {
    const routes = await sandbox.run('cat /proc/net/route')
    expect(
      routes.stdout
        .trim()
        .split('\n')
        .slice(1)
        .filter((line) => !line.startsWith('lo')),
    ).toEqual([])
  })

  const hostAddresses = Object.values(networkInterfaces())
    .flat()
    .filter((one) => one?.family === 'IPv4' && !one.internal)
  describe.each([
    { what: "the host's loopback", address: '127.0.0.1' },
    { what: 'every own address of the host', address: hostAddresses[0]?.address ?? '127.0.0.2' },
    { what: '0.0.0.0', address: '0.0.0.0' },
    { what: 'IPv4-mapped loopback', address: '::ffff:127.0.0.1' },
  ])('$what', ({ address }) => {
    it('does not lead to a service of the host', async () => {
      const before = reached
      expect(refused).toContain(await python(connect(address, port)))
      expect(reached).toBe(before)
    })
  })

  it("does not lead to Atoll's own API", async () => {
    expect(refused).toContain(await python(connect('127.0.0.1', stack().port)))
  })

  it.each([
    '169.254.169.254',
    '::ffff:169.254.169.254',
    'fd00:ec2::254',
    '10.0.0.1',
    '100.64.0.1',
    '192.0.2.1',
  ])('%s is unreachable at once', async (address) => {
    expect(refused).toContain(await python(connect(address, 80)))
  })

  it('fails a name fast and honestly', async () => {
    const started = Date.now()
    const said = await python(
      'import socket\ntry: print(socket.getaddrinfo("example.com", 80))\nexcept socket.gaierror as e: print("gaierror")',
    )
    expect(said).toBe('gaierror')
    expect(Date.now() - started).toBeLessThan(10_000)
  })

  it('has a loopback of its own that works', async () => {
    const code = `
import socket
server = socket.create_server(("127.0.0.1", 8080))
client = socket.create_connection(("127.0.0.1", 8080))
peer, _ = server.accept()
client.sendall(b"hello")
print(peer.recv(5).decode())`
    expect(await python(code)).toBe('hello')
  })

  it('does not share its loopback with another sandbox', async () => {
    const other = await create()
    await sandbox.start(['python3', '-m', 'http.server', '8099', '--bind', '127.0.0.1'], {
      survivors: 'kill',
    })
    const listening =
      'import socket,time\nfor _ in range(100):\n  try: socket.create_connection(("127.0.0.1",8099)); print("up"); break\n  except OSError: time.sleep(.05)'
    expect(await python(listening)).toBe('up')
    const seen = await other.run(['python3', '-c', connect('127.0.0.1', 8099)])
    expect(seen.stdout.trim()).toBe('ECONNREFUSED')
  })

  it('survives many connections and takes more after them', async () => {
    const code = `
import socket
server = socket.create_server(("127.0.0.1", 8081), backlog=512)
kept = []
try:
    for _ in range(4000):
        kept.append(socket.create_connection(("127.0.0.1", 8081), timeout=5)); kept.append(server.accept()[0])
except OSError as e: print("stopped by", e.errno)
print(len(kept) > 500)
for one in kept: one.close()
again = socket.create_connection(("127.0.0.1", 8081), timeout=5)
print("again")`
    const result = await sandbox.run(['python3', '-c', code], { timeoutMs: 60_000 })
    expect(result.stdout).toContain('True')
    expect(result.stdout).toContain('again')
    expect((await sandbox.run(['true'])).ok).toBe(true)
  })

  it('negative twin: without the network namespace the same code reaches the host', async () => {
    const before = reached
    const { stdout } = await promisify(execFile)('python3', ['-c', connect('127.0.0.1', port)])
    expect(stdout.trim()).toBe('connected')
    expect(reached).toBe(before + 1)
  })
})
