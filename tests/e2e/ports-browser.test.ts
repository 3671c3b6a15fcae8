import type { Sandbox } from '@atoll/sdk'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { browserPath, openBrowser, type Page } from './browser.ts'
import { until } from './call.ts'
import { type Drill, small, startDrill } from './drill.ts'
import { hotServer } from './port-programs.ts'

const reason = browserPath === undefined ? ' (skipped: no chromium here; apt-get install chromium)' : ''

/** Ports below a real domain are of one site: only then does a browser send the cookie of one along to another. */
const domain = 'atoll.test'

/** A dev server with hot reload behind a private port, as a person sees it. */
describe.skipIf(browserPath === undefined)(`a preview in a real browser${reason}`, () => {
  let drill: Drill
  let page: Page
  let sandbox: Sandbox
  beforeAll(async () => {
    drill = await startDrill({ args: ['--domain', domain] })
    page = await openBrowser(browserPath ?? '', domain)
    sandbox = await drill.stack.atoll.sandboxes.create({ runtime: 'gvisor', limits: small })
    for (const port of [3000, 3001]) {
      await sandbox.start(['python3', '-c', hotServer, String(port)])
      await until(`port ${port} listens`, 20_000, async () => {
        const tried = await sandbox.ports.connect(port).catch(() => undefined)
        await tried?.close()
        return tried
      })
    }
  })
  afterAll(async () => {
    await page?.[Symbol.asyncDispose]()
    await drill?.[Symbol.asyncDispose]()
  })

  const heading = () => page.evaluate<string>("document.querySelector('h1')?.textContent ?? ''")
  /** Waits until the page says so; the heading of a page that says something else is in the error. */
  const untilHeading = async (wanted: string): Promise<void> => {
    let seen = ''
    await until(`the heading is ${wanted}`, 15_000, async () => {
      seen = await heading().catch((error: Error) => error.message)
      return seen === wanted ? true : undefined
    }).catch((error: Error) => {
      throw new Error(`${error.message}; it is ${JSON.stringify(seen)}`)
    })
  }

  it('says that the port is private, and how to get in', async () => {
    await page.open(await sandbox.ports.url(3000))
    await untilHeading('This port is private')
    expect(await page.evaluate<string>('document.body.textContent')).toContain('atoll port link')
  })

  it('opens with a link, and reloads hot over a WebSocket with the cookie alone', async () => {
    const { url } = await sandbox.ports.link(3000, { path: '/page?x=1' })
    await page.open(url)
    await untilHeading('done closed')
    expect(await page.evaluate<string>('location.pathname + location.search')).toBe('/page?x=1')
    expect(await page.evaluate<string>('document.cookie'), 'kept from scripts').toBe('')
    await page.open(await sandbox.ports.url(3000))
    await untilHeading('done closed')
  })

  it('lets a page of one port into no other', async () => {
    const other = await sandbox.ports.url(3001)
    const reach = (what: string) => page.evaluate<string>(`${what}.then(() => 'reached', () => 'refused')`)
    expect(await reach(`fetch('${other}/', { credentials: 'include' })`)).toBe('refused')
    const socket = `new Promise((resolve, reject) => {
      const socket = new WebSocket('${other.replace('http', 'ws')}/hot')
      socket.onopen = resolve; socket.onerror = reject })`
    expect(await reach(socket)).toBe('refused')
    // Even when the browser has a cookie for it: the origin is another.
    await page.open((await sandbox.ports.link(3001)).url)
    await untilHeading('done closed')
    await page.open(await sandbox.ports.url(3000))
    await untilHeading('done closed')
    expect(await reach(socket)).toBe('refused')
  })
})
