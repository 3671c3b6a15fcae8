/** What a registry wants to see: `WWW-Authenticate` of a 401. */
export type Challenge =
  | { readonly scheme: 'basic' }
  | { readonly scheme: 'bearer'; readonly realm: string; readonly service?: string; readonly scope?: string }

/** Parses the header; undefined when neither Basic nor a Bearer with a realm is in it. */
export const parseChallenge = (header: string | null): Challenge | undefined => {
  const found = /^\s*(basic|bearer)\b(.*)$/is.exec(header?.slice(0, 8_192) ?? '')
  if (found === null) return undefined
  if (found[1]?.toLowerCase() === 'basic') return { scheme: 'basic' }
  const parameters = new Map<string, string>()
  for (const match of (found[2] ?? '').matchAll(/([a-z_]+)\s*=\s*(?:"([^"]*)"|([^\s,"]+))/gi)) {
    const [, name = '', quoted, bare] = match
    parameters.set(name.toLowerCase(), quoted ?? bare ?? '')
  }
  const realm = parameters.get('realm')
  if (realm === undefined) return undefined
  const service = parameters.get('service')
  const scope = parameters.get('scope')
  return {
    scheme: 'bearer',
    realm,
    ...(service === undefined ? {} : { service }),
    ...(scope === undefined ? {} : { scope }),
  }
}
