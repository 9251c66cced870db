import { OutboundError } from './outbound-error.ts'

const maxLength = 2_048
// Printable ASCII, no user information, no fragment. The parser forgives backslashes, tabs and line breaks; this does not.
const form = /^https:\/\/[A-Za-z0-9.-]+(?::[1-9][0-9]{0,4})?(?:[/?](?:(?![#\\])[!-~])*)?$/
const label = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?'
// At least two labels, the last of which begins with a letter: no address in any spelling, no name that a search list or
// the hosts file would complete, no dot at the end.
const hostName = new RegExp(`^(?:${label}\\.)+(?=[a-z])${label}$`)

/**
 * The URL of a document from outside, if it is one that may be asked: `https`, a host name, and a port that is HTTPS by its
 * number: 443, or an unprivileged one that ends in 443 (8443, 9443 …). Where the port is free, a URL can make us talk to any
 * service that a name leads to.
 *
 * Where the name leads is another question, for each request anew: see `isPublicAddress`.
 *
 * @throws OutboundError `url_refused`
 */
export function parseDocumentUrl(text: string): URL {
  if (text.length > maxLength || !form.test(text) || !URL.canParse(text)) throw new OutboundError('url_refused')
  const url = new URL(text)
  if (url.hostname.length > 253 || !hostName.test(url.hostname) || !isHttpsPort(url.port)) {
    throw new OutboundError('url_refused')
  }
  return url
}

/** Whether a text is the URL of a document that may be asked. */
export function isDocumentUrl(text: string): boolean {
  try {
    return parseDocumentUrl(text).protocol === 'https:'
  } catch {
    return false
  }
}

function isHttpsPort(port: string): boolean {
  return port === '' || /^[1-9][0-9]?443$/.test(port)
}
