import type { IncomingMessage } from 'node:http'
import { describe, expect, it } from 'vitest'
import { toBlockList } from '../../src/config/hosts.ts'
import { addressGroup, createAddressOf } from '../../src/http/address.ts'

function incoming(remoteAddress: string | undefined, forwarded?: string): IncomingMessage {
  const headers = forwarded === undefined ? {} : { 'x-forwarded-for': forwarded }
  return { socket: { remoteAddress }, headers } as unknown as IncomingMessage
}

describe('the address of a request', () => {
  const nobody = createAddressOf(toBlockList([]))
  const proxies = createAddressOf(toBlockList(['10.0.0.0/8', '192.0.2.1', 'fd00::/8']))

  it.each([
    ['192.0.2.9', '192.0.2.9'],
    ['::ffff:192.0.2.9', '192.0.2.9'],
    ['2001:DB8::1', '2001:db8::1'],
    ['fe80::1%eth0', 'fe80::1'],
    [undefined, 'unknown'],
  ])('is the peer: %s', (peer, address) => expect(nobody(incoming(peer))).toBe(address))

  it('ignores the header of a peer that is not trusted', () => {
    expect(nobody(incoming('192.0.2.9', '198.51.100.1'))).toBe('192.0.2.9')
    expect(proxies(incoming('192.0.2.9', '198.51.100.1'))).toBe('192.0.2.9')
  })

  it.each([
    ['198.51.100.1', '198.51.100.1'],
    ['6.6.6.6, 198.51.100.1', '198.51.100.1'],
    ['6.6.6.6, 198.51.100.1, 10.1.2.3', '198.51.100.1'],
    ['6.6.6.6,198.51.100.1 ,::ffff:10.1.2.3', '198.51.100.1'],
    ['[2001:db8::7]', '2001:db8::7'],
    ['10.9.9.9', '10.0.0.1'],
    ['6.6.6.6, nonsense', '10.0.0.1'],
    ['', '10.0.0.1'],
    ['198.51.100.1:1234', '10.0.0.1'],
  ])('C11 is the right-most hop that is no proxy: %j', (header, address) => {
    expect(proxies(incoming('10.0.0.1', header))).toBe(address)
    expect(proxies(incoming('::ffff:10.0.0.1', header))).toBe(address)
  })

  it('C11 groups IPv6 by /64, however it is written', () => {
    const groups = ['2001:db8::1', '2001:db8::ffff', '2001:db8:0:0:9::'].map(addressGroup)
    expect(new Set(groups)).toEqual(new Set(['2001:db8:0:0::/64']))
    expect(addressGroup('2001:db8:0:1::1')).not.toBe(groups[0])
    expect(addressGroup('192.0.2.9')).toBe('192.0.2.9')
    expect(addressGroup('unknown')).toBe('unknown')
  })

  it.each(['::ffff:c633:6401', '::FFFF:C633:6401', '0:0:0:0:0:ffff:198.51.100.1', '::ffff:198.51.100.1'])(
    'C11 has one spelling for an IPv4 address, also when a hop writes %s',
    (hop) => {
      expect(proxies(incoming('10.0.0.1', hop))).toBe('198.51.100.1')
    },
  )

  it('C11 knows a trusted proxy however its address is written', () => {
    expect(proxies(incoming('10.0.0.1', '198.51.100.1, ::ffff:a01:203'))).toBe('198.51.100.1')
    expect(proxies(incoming('FD00:0::1', '198.51.100.1, [fd00::2]'))).toBe('198.51.100.1')
  })

  it.each(['unknown', '_hidden', '198.51.100', '1.2.3.4.5', '::1::', '%', '[', '"198.51.100.1"', 'for=198.51.100.1'])(
    'C11 believes nothing of a header whose last hop is %j',
    (hop) => {
      expect(proxies(incoming('10.0.0.1', `6.6.6.6, ${hop}`))).toBe('10.0.0.1')
    },
  )
})
