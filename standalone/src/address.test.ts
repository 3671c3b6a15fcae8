import { describe, expect, it } from 'vitest'
import { addressOf, isLoopback, urlOf } from './address.ts'
import { checkLength } from './data-folder.ts'

describe('where it listens', () => {
  it('is loopback unless --listen says otherwise', () => {
    expect(addressOf({})).toEqual({ host: '127.0.0.1', port: 7171 })
    expect(addressOf({ port: '80' })).toEqual({ host: '127.0.0.1', port: 80 })
    expect(addressOf({ listen: '[::1]:90' })).toEqual({ host: '::1', port: 90 })
    expect(addressOf({ listen: '0.0.0.0:90' })).toEqual({ host: '0.0.0.0', port: 90 })
    expect([
      isLoopback('127.0.0.2'),
      isLoopback('::1'),
      isLoopback('0.0.0.0'),
      isLoopback('127.evil'),
    ]).toEqual([true, true, false, false])
  })

  it('refuses what it cannot mean', () => {
    for (const bad of [
      { port: '99999' },
      { port: 'x' },
      { listen: '7171' },
      { listen: 'host:1' },
      { listen: '1.2.3.4:5', port: '5' },
    ])
      expect(() => addressOf(bad)).toThrow()
  })

  it('gives a URL that a client on this machine can use', () => {
    expect(urlOf({ host: '0.0.0.0', port: 1 })).toBe('http://127.0.0.1:1')
    expect(urlOf({ host: '::1', port: 1 })).toBe('http://[::1]:1')
  })
})

describe('the data folder', () => {
  it('has a path that leaves room for sockets', () => {
    expect(() => checkLength(`/${'a'.repeat(49)}`)).not.toThrow()
    expect(() => checkLength(`/${'é'.repeat(25)}`)).toThrow(/51 bytes long and at most 50/)
  })
})
