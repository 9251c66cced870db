/** Names and addresses as settings write them: hosts, issuers, ranges. */
import { BlockList, isIP } from 'node:net'

const label = '[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?'
const hostName = new RegExp(`^${label}(?:\\.${label})*$`)

/** Whether a host name or address means this machine alone. */
export function isLoopback(host: string): boolean {
  const bare = host.replace(/^\[|\]$/g, '')
  return bare === 'localhost' || bare === '::1' || (isIP(bare) === 4 && bare.startsWith('127.'))
}

/** Whether a text is an issuer identifier in its one spelling (RFC 8414 section 2), with any scheme of HTTP. */
export function isIssuer(value: string): boolean {
  if (!/^https?:\/\/[^/?#@\s]+(?:\/[A-Za-z0-9._~-]+)*$/.test(value) || !URL.canParse(value)) return false
  const url = new URL(value)
  if (!isHost(url.hostname.replace(/^\[|\]$/g, ''))) return false
  return (url.pathname === '/' ? url.href.slice(0, -1) : url.href) === value
}

/** `host:port`, an IPv6 address in brackets. */
export function parseListen(value: string): { host: string; port: number } | undefined {
  const match = /^(?:\[(?<six>[^\]]+)\]|(?<host>[^:[\]]+)):(?<port>[0-9]{1,5})$/.exec(value)
  const { six, host = six, port } = match?.groups ?? {}
  if (host === undefined || Number(port) > 65_535) return undefined
  if (six === undefined ? !isHost(host) : isIP(six) !== 6) return undefined
  return { host, port: Number(port) }
}

/** An IP address, or a name of labels with dots between them (RFC 1123 section 2.1). */
export function isHost(value: string): boolean {
  return isIP(value) !== 0 || (value.length <= 253 && hostName.test(value))
}

/** An IP address, or one with the length of a prefix. */
export function isCidr(value: string): boolean {
  const [address = '', prefix, ...rest] = value.split('/')
  const family = isIP(address)
  if (family === 0 || rest.length > 0) return false
  if (prefix === undefined) return true
  return /^[0-9]{1,3}$/.test(prefix) && Number(prefix) <= (family === 4 ? 32 : 128)
}

/** The ranges of a list of addresses and CIDRs, to ask whether an address is in one of them. */
export function toBlockList(ranges: readonly string[]): BlockList {
  const list = new BlockList()
  for (const range of ranges) {
    const [address = '', prefix] = range.split('/')
    const type = isIP(address) === 6 ? 'ipv6' : 'ipv4'
    if (prefix === undefined) list.addAddress(address, type)
    else list.addSubnet(address, Number(prefix), type)
  }
  return list
}
