import { AtollError } from '@atoll/protocol'

/** An image in a registry. */
export interface ImageReference {
  /** Host with port as in a URL. */
  readonly host: string
  readonly repository: string
  /** A tag, or a digest with `sha256:`. */
  readonly target: string
  readonly text: string
}

const pattern =
  /^(?<host>[A-Za-z0-9.-]+(?::\d{1,5})?|\[[0-9a-fA-F:]+\](?::\d{1,5})?)\/(?<repository>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)(?::(?<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?<digest>sha256:[a-f0-9]{64}))?$/

/** `registry.example:5000/team/image:tag` or `…@sha256:…`; the registry is always named. */
export const parseReference = (text: string): ImageReference => {
  const groups = text.length <= 512 ? pattern.exec(text)?.groups : undefined
  const { host, repository, tag, digest } = groups ?? {}
  const named = host !== undefined && (/[.:]/.test(host) || host === 'localhost')
  if (!named || repository === undefined) {
    throw new AtollError(
      'invalid_request',
      `${JSON.stringify(text.slice(0, 512))} is no image reference: write registry-host/name:tag or registry-host/name@sha256:…`,
    )
  }
  return { host, repository, target: digest ?? tag ?? 'latest', text }
}

/** True for addresses that only this machine answers, where plain HTTP tells nobody anything. */
export const isLoopback = (hostname: string): boolean =>
  hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d{1,3}){3}$/.test(hostname)
