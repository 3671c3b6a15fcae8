import { expect } from 'vitest'
import type { Subject } from './subject.ts'

/** What must be true of a sandbox. */
interface Box {
  readonly id: string
  readonly files: Map<string, string>
  /** Held by a process in memory alone. */
  word: string | undefined
  rest: 'running' | 'frozen' | 'stored' | 'stopped'
  generation: number
}

interface Saved {
  readonly id: string
  readonly kind: 'memory' | 'disk'
  readonly files: ReadonlyMap<string, string>
  readonly word: string | undefined
}

const mostBoxes = 4
const mostSaved = 3
/** Ms into an act at which its daemon may be killed. */
const withinMs = 150

/** Acts at random and holds the subject to a model: no write lost, none that came back, no memory but its own. */
export const randomWalk = async (
  subject: Subject,
  random: () => number,
  cycles: number,
): Promise<Record<string, number>> => {
  const boxes: Box[] = []
  const saved: Saved[] = []
  const counts: Record<string, number> = {}
  let made = 0
  const pick = <Item>(items: readonly Item[]): Item | undefined => items[Math.floor(random() * items.length)]
  const word = (): string => `w${++made}`

  const add = async (
    id: string,
    files: ReadonlyMap<string, string>,
    held: string | undefined,
  ): Promise<Box> => {
    const { generation } = await subject.look(id)
    const box: Box = { id, files: new Map(files), word: held, rest: 'running', generation }
    boxes.push(box)
    return box
  }
  /** Before a call, which brings a paused one back by itself. */
  const awake = async (box: Box): Promise<void> => {
    if (box.rest === 'stopped') await start(box)
    if (box.rest === 'stored') box.generation++
    box.rest = 'running'
  }
  const start = async (box: Box): Promise<void> => {
    await subject.start(box.id)
    box.generation++
    box.rest = 'running'
  }
  const check = async (box: Box): Promise<void> => {
    await awake(box)
    for (const [name, text] of box.files)
      expect(await subject.read(box.id, name), `${box.id} ${name}`).toBe(text)
    expect(await subject.held(box.id), `memory of ${box.id}`).toBe(box.word)
    const { state, generation } = await subject.look(box.id)
    expect(state).toBe('running')
    expect(generation, `generation of ${box.id}`).toBeGreaterThanOrEqual(box.generation)
    box.generation = generation
  }
  const room = async (): Promise<void> => {
    while (boxes.length >= mostBoxes) {
      const box = boxes.shift()
      if (box === undefined) return
      await subject.delete(box.id)
      expect((await subject.look(box.id)).state).toBe('ended')
    }
  }
  const acts: Record<string, (box: Box) => Promise<void>> = {
    write: async (box) => {
      await awake(box)
      const [name, text] = [`f${Math.floor(random() * 5)}`, word()]
      await subject.write(box.id, name, text)
      box.files.set(name, text)
    },
    hold: async (box) => {
      if (box.word !== undefined) return await check(box)
      await awake(box)
      const held = word()
      await subject.hold(box.id, held)
      box.word = held
    },
    freeze: async (box) => {
      if (box.rest === 'stopped') await start(box)
      await subject.pause(box.id, 'frozen')
      if (box.rest === 'running') box.rest = 'frozen'
    },
    store: async (box) => {
      if (box.rest === 'stopped') await start(box)
      await subject.pause(box.id, 'stored')
      box.rest = 'stored'
    },
    resume: async (box) => {
      if (box.rest === 'stopped') return await start(box)
      await subject.resume(box.id)
      await awake(box)
    },
    stop: async (box) => {
      if (box.rest === 'stored') await acts['resume']?.(box)
      await subject.stop(box.id)
      box.rest = 'stopped'
      box.word = undefined
    },
    fork: async (box) => {
      if (box.rest === 'stopped') await start(box)
      await room()
      if (!boxes.includes(box)) return
      for (const id of await subject.fork(box.id, 1 + Math.floor(random() * 2)))
        await add(id, box.files, box.word)
    },
    snapshot: async (box) => {
      const oldest = saved.length >= mostSaved ? saved.shift() : undefined
      if (oldest !== undefined) await subject.forget(oldest.id)
      const kind = random() < 0.5 ? 'memory' : 'disk'
      if (kind === 'disk' || box.rest === 'stopped') await acts['resume']?.(box)
      const id = await subject.snapshot(box.id, kind)
      saved.push({ id, kind, files: new Map(box.files), word: kind === 'memory' ? box.word : undefined })
    },
    create: async () => {
      await room()
      const from = pick(saved)
      const box = await add(await subject.create(from?.id), from?.files ?? new Map(), from?.word)
      await check(box)
      await acts['hold']?.(box)
    },
    kill: () => subject.crash(),
    killWithin: async (box) => {
      if (subject.crashWithin === undefined) return await subject.crash()
      await awake(box)
      await subject.resume(box.id)
      const depth = random() < 0.5 ? 'frozen' : 'stored'
      await subject.crashWithin(() => subject.pause(box.id, depth), random() * withinMs)
      const { state } = await subject.look(box.id)
      expect(['running', 'pausing', 'paused']).toContain(state)
    },
    killWakening: async (box) => {
      if (subject.crashWithin === undefined) return await subject.crash()
      await acts['store']?.(box)
      await subject.crashWithin(() => subject.resume(box.id), random() * withinMs)
      // It came back by that resume, or does so by this call.
      await check(box)
    },
    killWriting: async (box) => {
      if (subject.crashWithin === undefined) return await subject.crash()
      await awake(box)
      const text = word()
      let isTold = false
      const write = async (): Promise<void> => {
        await subject.write(box.id, 'torn', text)
        isTold = true
      }
      await subject.crashWithin(write, random() * 30)
      // What nobody was told of may be there or not, and then it is whole.
      const found = await subject.read(box.id, 'torn')
      if (isTold) expect(found).toBe(text)
      else expect([text, box.files.get('torn')]).toContain(found)
      if (found !== undefined) box.files.set('torn', found)
    },
  }
  const names = ['write', 'write', 'hold', 'freeze', 'store', 'store', ...Object.keys(acts)]
  await acts['create']?.(await add(await subject.create(undefined), new Map(), undefined))
  for (let cycle = 0; cycle < cycles; cycle++) {
    const name = pick(names) ?? 'write'
    const box = pick(boxes) ?? (await add(await subject.create(undefined), new Map(), undefined))
    counts[name] = (counts[name] ?? 0) + 1
    try {
      await acts[name]?.(box)
      const seen = random() < 0.5 && boxes.includes(box) ? box : pick(boxes)
      if (seen !== undefined && random() < 0.6) await check(seen)
    } catch (error) {
      throw new Error(`cycle ${cycle}, ${name} of ${box.id} (${box.rest})`, { cause: error })
    }
  }
  for (const box of boxes) await check(box)
  for (const box of boxes) await subject.delete(box.id)
  for (const { id } of saved) await subject.forget(id)
  return counts
}
