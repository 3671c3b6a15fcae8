import { InvalidArgumentError } from 'commander'

/** A TCP port. */
export const parsePort = (text: string): number => {
  const port = Number(text)
  if (!/^\d{1,5}$/.test(text) || port < 1 || port > 65_535)
    throw new InvalidArgumentError('give a port from 1 to 65535')
  return port
}

/** `8080` or `8080:3000`: the port here (0 takes a free one) and the port inside. */
export const parsePortPair = (text: string): { readonly local: number; readonly inside: number } => {
  const match = /^(\d{1,5})(?::(\d{1,5}))?$/.exec(text)
  const local = Number(match?.[1])
  if (match?.[1] === undefined || local > 65_535)
    throw new InvalidArgumentError('give <local> or <local>:<inside>, like 8080:3000')
  return { local, inside: parsePort(match[2] ?? match[1]) }
}
