/** A small deterministic generator (mulberry32): a failure names its seed and can be played again. */
export const rng = (seed: number) => {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  return {
    next,
    chance: (probability: number): boolean => next() < probability,
    pick: <T>(from: readonly T[]): T => from[Math.floor(next() * from.length)] as T,
  }
}

export type Random = ReturnType<typeof rng>

const deep = (levels: number): unknown => {
  let value: unknown = 1
  for (let i = 0; i < levels; i++) value = i % 2 ? [value] : { a: value }
  return value
}

const odd: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  1e308,
  2 ** 53,
  -0.5,
  '',
  'a',
  'x'.repeat(5_000),
  '\0',
  '\ud800',
  '../../etc/passwd',
  "'; drop table sandboxes; --",
  '%00%2f..',
  [],
  {},
  [[]],
  deep(500),
  { __proto__: { admin: true }, constructor: 1 },
  JSON.parse('{"__proto__":{"x":1}}'),
  '\u2028\u{1f600}',
]

type JsonSchema = Record<string, ReturnType<typeof JSON.parse>>

/** A value that mostly fits a JSON schema, and at times does not. */
export const valueFor = (
  schema: JsonSchema | undefined,
  random: Random,
  root: JsonSchema,
  wild = 0.08,
): unknown => {
  if (schema === undefined || random.chance(wild)) return random.pick(odd)
  if (typeof schema['$ref'] === 'string') {
    const target = (schema['$ref'] as string).split('/').slice(1)
    return valueFor(
      target.reduce<JsonSchema>((at, name) => at[name], root),
      random,
      root,
      wild,
    )
  }
  if (schema['enum']) return random.pick(schema['enum'])
  if ('const' in schema) return schema['const']
  const choices = schema['anyOf'] ?? schema['oneOf']
  if (choices) return valueFor(random.pick(choices as JsonSchema[]), random, root, wild)
  const type = Array.isArray(schema['type']) ? random.pick(schema['type'] as string[]) : schema['type']
  switch (type) {
    case 'object':
      return objectFor(schema, random, root, wild)
    case 'array':
      return Array.from({ length: Math.floor(random.next() * 4) }, () =>
        valueFor(schema['items'], random, root, wild),
      )
    case 'integer':
    case 'number': {
      const least = schema['minimum'] ?? -10
      return random.chance(0.2) ? least - 1 : Math.floor(least + random.next() * 1_000)
    }
    case 'boolean':
      return random.chance(0.5)
    case 'string':
      return random.pick([
        'a',
        'base',
        'name-1',
        'SIGTERM',
        '0'.repeat(64),
        'prj_aaaaaaaaaaaaaaaaaaaa',
        'AAAA',
      ])
    default:
      return random.pick(odd)
  }
}

const objectFor = (schema: JsonSchema, random: Random, root: JsonSchema, wild: number): unknown => {
  const made: Record<string, unknown> = {}
  const required = new Set<string>(schema['required'] ?? [])
  for (const [name, inner] of Object.entries<JsonSchema>(schema['properties'] ?? {}))
    if (required.has(name) ? !random.chance(wild) : random.chance(0.4))
      made[name] = valueFor(inner, random, root, wild)
  if (random.chance(0.2))
    made[String(random.pick(['extra', '__proto__', 'constructor', 'a=b']))] = random.pick(odd)
  return made
}

/** Text of a body: JSON, and at times what only looks like it. */
export const bodyText = (value: unknown, random: Random): string => {
  const text = JSON.stringify(value) ?? ''
  if (random.chance(0.06)) return text.slice(0, Math.floor(random.next() * text.length))
  if (random.chance(0.03)) return `${text}${text}`
  return random.chance(0.02) ? '\ufeff{' : text
}
