/** The one name that a certificate must have to be the client's (RFC 8705 section 2.1.2): what may be registered, and what matches it. */
import { isIP } from 'node:net'
import type { CertificateNames } from './certificate.ts'
import type { TlsSubject } from './client.ts'
import { isSameName, maxNameLength, parseDistinguishedName } from './distinguished-name.ts'

/** What each kind takes, for whoever registers it. */
export const tlsSubjectForms: Readonly<Record<TlsSubject['kind'], string>> = {
  subject_dn: 'a distinguished name by RFC 4514, such as CN=billing,O=Example',
  san_dns: 'a host name without wildcards, such as billing.example.com',
  san_uri: 'an absolute URI, such as spiffe://example.com/billing',
  san_ip: 'an IP address, such as 192.0.2.7',
  san_email: 'an e-mail address in ASCII, such as billing@example.com',
}

const label = '[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?'
const hostForm = new RegExp(`^(?=.{1,253}$)${label}(?:\\.${label})*$`)
const uriForm = /^[A-Za-z][A-Za-z0-9+.-]*:[\x21-\x7E]+$/
const emailForm = /^(?<local>[\x21-\x3F\x41-\x7E]{1,64})@(?<domain>[^@]+)$/

/** Whether a text can be registered as the name of that kind. */
export function isTlsSubject({ kind, value }: TlsSubject): boolean {
  switch (kind) {
    case 'subject_dn':
      return parseDistinguishedName(value) !== undefined
    case 'san_dns':
      return hostForm.test(value)
    case 'san_uri':
      return value.length <= maxNameLength && uriForm.test(value)
    case 'san_ip':
      return addressBytes(value) !== undefined
    case 'san_email':
      return hostForm.test(emailForm.exec(value)?.groups?.domain ?? '')
  }
}

/**
 * Whether a certificate has the registered name. Host names and the domain of an e-mail address are compared without case,
 * URIs as they are spelt, addresses as bytes, distinguished names by their rules. A wildcard in a certificate is a name like
 * any other, and none that can be registered; a common name is no host name.
 *
 * @see RFC 8705 section 2.1.2, RFC 5280 sections 4.2.1.6 and 7
 */
export function hasSubject(names: CertificateNames, { kind, value }: TlsSubject): boolean {
  switch (kind) {
    case 'subject_dn': {
      const registered = parseDistinguishedName(value)
      return registered !== undefined && isSameName(registered, names.subject)
    }
    case 'san_dns':
      return names.dns.some((name) => lowerAscii(name) === lowerAscii(value))
    case 'san_uri':
      return names.uris.includes(value)
    case 'san_ip': {
      const bytes = addressBytes(value)
      return bytes !== undefined && names.ips.includes(bytes)
    }
    case 'san_email':
      return names.emails.some((name) => lowerDomain(name) === lowerDomain(value))
  }
}

// Names in certificates are ASCII here; the lower case of other letters can be ASCII too (K for KELVIN SIGN).
function lowerAscii(text: string): string {
  return text.replace(/[A-Z]/g, (letter) => letter.toLowerCase())
}

function lowerDomain(address: string): string {
  const at = address.lastIndexOf('@')
  return address.slice(0, at) + lowerAscii(address.slice(at))
}

/** The bytes of an address in hex, as a certificate has them; `undefined` when it is none. */
function addressBytes(text: string): string | undefined {
  if (isIP(text) === 4) return Buffer.from(text.split('.').map(Number)).toString('hex')
  if (isIP(text) !== 6 || text.includes('%')) return undefined
  // The one spelling of WHATWG, without dotted quads.
  const [head = '', tail] = new URL(`http://[${text}]`).hostname.slice(1, -1).split('::')
  const groups = (part: string | undefined): readonly string[] => (part ? part.split(':') : [])
  const [left, right] = [groups(head), groups(tail)]
  const middle = Array.from({ length: 8 - left.length - right.length }, () => '')
  return [...left, ...middle, ...right].map((group) => group.padStart(4, '0')).join('')
}
