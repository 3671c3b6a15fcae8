import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { WebSocket } from 'ws'

/** Where Debian and most others have it. */
const paths = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']
export const browserPath = paths.find((path) => existsSync(path))

/** One page of a real browser, driven by the protocol of its developer tools. */
export interface Page extends AsyncDisposable {
  open(url: string): Promise<void>
  /** The value of an expression in the page. */
  evaluate<Value>(expression: string): Promise<Value>
}

const startTimeoutMs = 30_000

/** Starts Chromium without a window and opens an empty page; names below `domain` lead to this machine. */
export const openBrowser = async (path: string, domain: string): Promise<Page> => {
  await using stack = new AsyncDisposableStack()
  const profile = await mkdtemp('/tmp/atoll-browser-')
  stack.defer(() => rm(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 }))
  const flags = [
    '--headless=new',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-dev-shm-usage',
    '--no-first-run',
  ]
  const child = spawn(path, [
    ...flags,
    '--remote-debugging-port=0',
    `--host-resolver-rules=MAP *.${domain} 127.0.0.1`,
    `--user-data-dir=${profile}`,
    'about:blank',
  ])
  stack.defer(() => ended(child))
  const socket = new WebSocket(await addressOf(child))
  stack.defer(() => socket.terminate())
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
  const ask = asker(socket)
  const { targetId } = await ask<{ targetId: string }>('Target.createTarget', { url: 'about:blank' })
  const { sessionId } = await ask<{ sessionId: string }>('Target.attachToTarget', { targetId, flatten: true })
  const held = stack.move()
  return {
    open: async (url) => {
      const { errorText } = await ask<{ errorText?: string }>('Page.navigate', { url }, sessionId)
      if (errorText !== undefined) throw new Error(`the browser cannot open ${url}: ${errorText}`)
    },
    evaluate: async <Value>(expression: string) => {
      const params = { expression, awaitPromise: true, returnByValue: true }
      const answer = await ask<{ result: { value: Value }; exceptionDetails?: object }>(
        'Runtime.evaluate',
        params,
        sessionId,
      )
      if (answer.exceptionDetails !== undefined)
        throw new Error(`${expression} failed in the page: ${JSON.stringify(answer.exceptionDetails)}`)
      return answer.result.value
    },
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  }
}

const addressOf = (child: ChildProcess): Promise<string> =>
  new Promise((resolve, reject) => {
    let said = ''
    const late = setTimeout(() => reject(new Error(`the browser did not start: ${said}`)), startTimeoutMs)
    child.once('exit', () => reject(new Error(`the browser ended: ${said}`)))
    child.stderr?.on('data', (chunk) => {
      said += String(chunk)
      const url = /DevTools listening on (ws:\S+)/.exec(said)?.[1]
      if (url === undefined) return
      clearTimeout(late)
      resolve(url)
    })
  })

const ended = (child: ChildProcess): Promise<void> =>
  new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve()
    child.once('exit', () => resolve())
    child.kill('SIGKILL')
  })

interface Reply {
  readonly id?: number
  readonly result?: unknown
  readonly error?: { readonly message: string }
}

const asker = (socket: WebSocket) => {
  const waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>()
  let last = 0
  socket.on('message', (data: Buffer) => {
    const { id, result, error } = JSON.parse(data.toString()) as Reply
    const call = id === undefined ? undefined : waiting.get(id)
    if (id === undefined || call === undefined) return
    waiting.delete(id)
    if (error === undefined) call.resolve(result as never)
    else call.reject(new Error(error.message))
  })
  socket.once('close', () => {
    for (const { reject } of waiting.values()) reject(new Error('the browser went away'))
  })
  return <Result>(method: string, params: object, sessionId?: string): Promise<Result> =>
    new Promise((resolve, reject) => {
      const id = ++last
      waiting.set(id, { resolve, reject })
      socket.send(JSON.stringify({ id, method, params, ...(sessionId === undefined ? {} : { sessionId }) }))
    })
}
