/**
 * One spelling for URLs that RFC 3986 section 6 holds for equal. The platform's parser is no help: it repairs what is
 * broken (a backslash, a tab, a number for a host), and two URLs that only it holds for one must not pass for one here.
 *
 * What is done: percent-encodings of unreserved characters are undone and the others written in upper case, scheme and
 * host in lower case, the port left out where it is the scheme's, `.` and `..` resolved, an empty path made `/`. Query and
 * fragment are dropped, for a proof does not bind them.
 *
 * @see RFC 3986 sections 6.2.2 and 6.2.3, RFC 9449 section 4.3
 */

// No user information: it makes one host look like another, and has no place in a target URI (RFC 9110 section 4.2.4).
const form = /^(?<scheme>https?):\/\/(?<host>\[[0-9a-f:.]+\]|[^:/@[\]]+)(?::(?<port>[0-9]*))?(?<path>\/.*)?$/i
const characters = /^(?:[\w.~:/?#[\]@!$&'()*+,;=-]|%[0-9a-f]{2})*$/i
const ports: Readonly<Record<string, string>> = { http: '80', https: '443' }

/** The normal form of an `http` or `https` URL without query and fragment; `undefined` for what is none. */
export function normaliseUrl(text: string): string | undefined {
  if (!characters.test(text)) return undefined
  const [bare = ''] = text.split(/[?#]/, 1)
  const { scheme = '', host = '', port = '', path = '/' } = form.exec(normaliseEscapes(bare))?.groups ?? {}
  if (scheme === '') return undefined
  const name = scheme.toLowerCase()
  const shownPort = port === '' || port === ports[name] ? '' : `:${port}`
  return `${name}://${host.toLowerCase()}${shownPort}${removeDots(path)}`
}

function normaliseEscapes(text: string): string {
  return text.replace(/%([0-9a-f]{2})/gi, (encoded, hex: string) => {
    const character = String.fromCharCode(Number.parseInt(hex, 16))
    return /[\w.~-]/.test(character) ? character : encoded.toUpperCase()
  })
}

// RFC 3986 section 5.2.4, for a path that begins with a slash.
function removeDots(path: string): string {
  const segments = path.split('/').slice(1)
  const kept: string[] = []
  for (const [i, segment] of segments.entries()) {
    const isDots = segment === '.' || segment === '..'
    if (segment === '..') kept.pop()
    if (!isDots) kept.push(segment)
    else if (i === segments.length - 1) kept.push('')
  }
  return `/${kept.join('/')}`
}
