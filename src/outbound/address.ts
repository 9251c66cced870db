/**
 * Addresses that a request may go to. Whoever registers a URL, or runs its DNS, chooses where we connect; everything that
 * only we can reach must therefore be out of his: this machine, its networks, and the metadata services of clouds, which
 * hand out credentials. All special-purpose ranges of IANA are refused, also those that are said to be globally reachable:
 * they are protocols' own and serve no documents.
 *
 * IPv6 is an allow-list: global unicast is 2000::/3 and nothing else. So whatever carries an IPv4 address inside (mapped,
 * NAT64) is refused without looking at it; 6to4 and Teredo lie within 2000::/3 and are named.
 *
 * @see RFC 6890 and the IANA special-purpose address registries; RFC 8725 section 3.10
 */
import { BlockList, isIP } from 'node:net'

const special = new BlockList()

const ipv4: readonly (readonly [string, number])[] = [
  ['0.0.0.0', 8], // this network, RFC 791
  ['10.0.0.0', 8], // private, RFC 1918
  ['100.64.0.0', 10], // shared by carriers, RFC 6598
  ['127.0.0.0', 8], // loopback, RFC 1122
  ['168.63.129.16', 32], // Azure's own services, at a public address
  ['169.254.0.0', 16], // link-local, RFC 3927; the metadata of most clouds
  ['172.16.0.0', 12], // private, RFC 1918
  ['192.0.0.0', 24], // protocol assignments, RFC 6890
  ['192.0.2.0', 24], // documentation, RFC 5737
  ['192.31.196.0', 24], // AS112, RFC 7535
  ['192.52.193.0', 24], // AMT, RFC 7450
  ['192.88.99.0', 24], // 6to4 relays, RFC 7526
  ['192.168.0.0', 16], // private, RFC 1918
  ['192.175.48.0', 24], // AS112, RFC 7534
  ['198.18.0.0', 15], // benchmarks, RFC 2544
  ['198.51.100.0', 24], // documentation, RFC 5737
  ['203.0.113.0', 24], // documentation, RFC 5737
  ['224.0.0.0', 4], // multicast, RFC 5771
  ['240.0.0.0', 4], // reserved, and broadcast, RFC 1112
]

const ipv6: readonly (readonly [string, number])[] = [
  ['2001::', 23], // protocol assignments, RFC 2928: Teredo, benchmarks, ORCHID
  ['2001:db8::', 32], // documentation, RFC 3849
  ['2002::', 16], // 6to4, RFC 3056
  ['2620:4f:8000::', 48], // AS112, RFC 7534
  ['3ffe::', 16], // the 6bone, given back by RFC 3701
  ['3fff::', 20], // documentation, RFC 9637
]

for (const [network, prefix] of ipv4) special.addSubnet(network, prefix, 'ipv4')
for (const [network, prefix] of ipv6) special.addSubnet(network, prefix, 'ipv6')

const globalUnicast = new BlockList()
globalUnicast.addSubnet('2000::', 3, 'ipv6')

/** Whether an IP address is one of the public Internet. Whatever is no address, or has a zone, is not. */
export function isPublicAddress(address: string): boolean {
  const family = isIP(address)
  if (family === 4) return !special.check(address, 'ipv4')
  if (family !== 6 || address.includes('%')) return false
  return globalUnicast.check(address, 'ipv6') && !special.check(address, 'ipv6')
}
