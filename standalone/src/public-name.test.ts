import { expect, it } from 'vitest'
import { publicNameOf, publicUrl, portUrl } from './public-name.ts'
import { tlsFilesOf } from './tls.ts'

const sandbox = 'sbx_aaaaaaaaaaaaaaaaaaaa'

it.each([
  [undefined, 7171, false, 'http://3000-sbx-aaaaaaaaaaaaaaaaaaaa.localhost:7171', undefined],
  [
    'example.dev',
    7171,
    false,
    'http://3000-sbx-aaaaaaaaaaaaaaaaaaaa.example.dev:7171',
    'http://example.dev:7171',
  ],
  ['Example.Dev', 443, true, 'https://3000-sbx-aaaaaaaaaaaaaaaaaaaa.example.dev', 'https://example.dev'],
  [
    'example.dev:8443',
    443,
    true,
    'https://3000-sbx-aaaaaaaaaaaaaaaaaaaa.example.dev:8443',
    'https://example.dev:8443',
  ],
  [
    'https://a.example.dev',
    7171,
    false,
    'https://3000-sbx-aaaaaaaaaaaaaaaaaaaa.a.example.dev',
    'https://a.example.dev',
  ],
  [
    'http://example.dev',
    7171,
    false,
    'http://3000-sbx-aaaaaaaaaaaaaaaaaaaa.example.dev',
    'http://example.dev',
  ],
] as const)('calls ports by --domain %s, listening at %i, TLS %s', (given, listeningPort, tls, port, api) => {
  const front = { name: publicNameOf(given), listeningPort, tls }
  expect([portUrl(front, sandbox, 3000), publicUrl(front)]).toEqual([port, api])
})

it.each([
  '',
  'a b',
  '10.0.0.1',
  'example.dev/path',
  'ftp://example.dev',
  '*.example.dev',
  'example.dev:0',
  'a..b',
  'x:99999',
])('refuses --domain %j', (given) => {
  expect(() => publicNameOf(given)).toThrow(/cannot use .* as --domain/)
})

it('takes a certificate only with its key', () => {
  expect(tlsFilesOf(undefined, undefined)).toBeUndefined()
  expect(tlsFilesOf('c', 'k')).toEqual({ certPath: 'c', keyPath: 'k' })
  expect(() => tlsFilesOf('c', undefined)).toThrow(/--tls-cert and --tls-key together/)
})
