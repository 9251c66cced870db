import type { IncomingMessage } from 'node:http'
import { type BlockList, isIP } from 'node:net'

/** Finds out where a request comes from. */
export type AddressOf = (incoming: IncomingMessage) => string

/** Whether a request comes from a proxy whose headers are believed. */
export type IsTrustedPeer = (incoming: IncomingMessage) => boolean

/** Asks the socket, and no header. */
export function createIsTrustedPeer(trusted: BlockList): IsTrustedPeer {
  if (trusted.rules.length === 0) return () => false
  return ({ socket }) => {
    const peer = normalise(socket.remoteAddress ?? '')
    return peer !== undefined && trusted.check(peer, isIP(peer) === 6 ? 'ipv6' : 'ipv4')
  }
}

/**
 * The address of the peer, or behind a trusted proxy the right-most address of `X-Forwarded-For` that is not itself a
 * trusted proxy: everything to the left of it was written by whoever asks.
 */
export function createAddressOf(trusted: BlockList): AddressOf {
  const trustsNobody = trusted.rules.length === 0
  const isTrusted = (address: string): boolean => trusted.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4')
  return (incoming) => {
    const peer = normalise(incoming.socket.remoteAddress ?? '')
    if (peer === undefined) return 'unknown'
    if (trustsNobody || !isTrusted(peer)) return peer
    return findClient(incoming.headers['x-forwarded-for'], isTrusted) ?? peer
  }
}

function findClient(
  header: string | string[] | undefined,
  isTrusted: (address: string) => boolean,
): string | undefined {
  const hops = [header ?? []].flat().join(',').split(',')
  for (const hop of hops.toReversed()) {
    const address = normalise(hop.trim())
    if (address === undefined) return undefined
    if (!isTrusted(address)) return address
  }
  return undefined
}

// One spelling for each address: IPv4-mapped IPv6 as IPv4 however it is written, no zone, no brackets.
function normalise(text: string): string | undefined {
  if (isIP(text) === 4) return text
  const bare = text.replace(/^\[(.*)\]$/, '$1').replace(/%.*$/, '')
  if (isIP(bare) !== 6) return undefined
  const six = new URL(`http://[${bare}]`).hostname.slice(1, -1)
  const mapped = /^::ffff:(?<high>[0-9a-f]{1,4}):(?<low>[0-9a-f]{1,4})$/.exec(six)?.groups
  if (mapped === undefined) return six
  const bytes = [mapped.high, mapped.low].flatMap((group) => {
    const value = Number.parseInt(group ?? '', 16)
    return [value >> 8, value & 255]
  })
  return bytes.join('.')
}

/** What counts as one stranger: an IPv4 address, or the /64 of an IPv6 one, for that is what a single machine is given. */
export function addressGroup(address: string): string {
  if (isIP(address) !== 6) return address
  const [head = '', tail] = address.split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const middle =
    tail === undefined ? [] : Array.from({ length: Math.max(0, 8 - left.length - right.length) }, () => '0')
  return `${[...left, ...middle, ...right].slice(0, 4).join(':')}::/64`
}
