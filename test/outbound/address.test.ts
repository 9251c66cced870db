import { describe, expect, it } from 'vitest'
import { isPublicAddress } from '../../src/outbound/address.ts'

describe('S01 an address', () => {
  it.each([
    '1.1.1.1',
    '8.8.8.8',
    '9.255.255.255',
    '11.0.0.0',
    '100.63.255.255',
    '100.128.0.0',
    '172.15.255.255',
    '172.32.0.0',
    '192.167.255.255',
    '198.17.255.255',
    '198.20.0.0',
    '223.255.255.255',
    '2606:4700:4700::1111',
    '2a00:1450:4001:829::200e',
    '2001:200::1',
  ])('of the public Internet is allowed: %s', (address) => {
    expect(isPublicAddress(address)).toBe(true)
  })

  it.each([
    ['this network', ['0.0.0.0', '0.255.255.255']],
    ['private', ['10.0.0.1', '10.255.255.255', '172.16.0.1', '172.31.255.255', '192.168.0.1', '192.168.255.255']],
    ['of a carrier', ['100.64.0.1', '100.127.255.255', '100.100.100.200']],
    ['loopback', ['127.0.0.1', '127.255.255.255', '127.0.0.53']],
    ['link-local', ['169.254.169.254', '169.254.0.1', '169.254.170.2']],
    ['of a cloud', ['168.63.129.16', '192.0.0.192']],
    ['of protocols', ['192.0.0.1', '192.31.196.1', '192.52.193.1', '192.88.99.1', '192.175.48.1']],
    ['for documents and benchmarks', ['192.0.2.1', '198.51.100.1', '203.0.113.1', '198.18.0.1', '198.19.255.255']],
    ['multicast', ['224.0.0.1', '239.255.255.255']],
    ['reserved, or broadcast', ['240.0.0.1', '255.255.255.255']],
  ])('that is %s is refused', (_name, addresses) => {
    expect(addresses.filter(isPublicAddress)).toEqual([])
  })

  it.each([
    ['loopback, or none', ['::1', '::']],
    ['mapped from IPv4', ['::ffff:127.0.0.1', '::ffff:8.8.8.8', '::ffff:a00:1', '::127.0.0.1']],
    ['translated from IPv4', ['64:ff9b::7f00:1', '64:ff9b::8.8.8.8', '64:ff9b:1::1']],
    ['6to4, also of a private one', ['2002:7f00:1::', '2002:0808:0808::1']],
    ['Teredo', ['2001::1', '2001:0:4136:e378:8000:63bf:3fff:fdd2']],
    ['of protocols', ['2001:2::1', '2001:10::1', '2001:20::1', '2620:4f:8000::1', '3ffe::1', '5f00::1', '100::1']],
    ['for documents', ['2001:db8::1', '3fff::1']],
    ['unique local', ['fc00::1', 'fd00::1', 'fd00:ec2::254']],
    ['link-local', ['fe80::1', 'fe80::1%lo', 'fe80::1%1', 'febf::1']],
    ['site-local', ['fec0::1']],
    ['multicast', ['ff02::1', 'ff0e::1']],
    ['not given out by anybody', ['4000::1', '8000::1', 'e000::1']],
  ])('of IPv6 that is %s is refused', (_name, addresses) => {
    expect(addresses.filter(isPublicAddress)).toEqual([])
  })

  it.each(['', 'localhost', '127.1', '2130706433', '0x7f.1', '8.8.8.8/32', '[::1]', '2606:4700::1%eth0', '1.1.1.1 '])(
    'that is none is refused: %j',
    (text) => {
      expect(isPublicAddress(text)).toBe(false)
    },
  )
})
