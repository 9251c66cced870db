/**
 * Distinguished names: read from the text that people register (RFC 4514), and compared with what stands in a certificate
 * (distinguishedNameMatch, RFC 4517 section 4.2.15). A printed name is never compared: two printers escape, order and
 * capitalise in different ways, and one that does not escape lets the holder of a certificate write `CN=x, O=Bank` into its
 * common name.
 *
 * Where the rules leave a choice the stricter side is taken, so that two names never match by mistake: an attribute of a type
 * that is not in the table is compared as it is spelt, one in an encoding without a clear meaning (TeletexString,
 * UniversalString) by its bytes alone, and no character is mapped to nothing.
 */

/** One attribute of a name. */
export interface NameAttribute {
  /** The dotted OID of its type. */
  readonly type: string
  /** Its value as text, where it has one. */
  readonly text?: string
  /** Its value as DER in hex, where that is known. */
  readonly der?: string
}

/** A name as it stands in a certificate: the most general part first, each of one or more attributes without an order. */
export type DistinguishedName = readonly (readonly NameAttribute[])[]

/** RFC 4514 section 3 and the short names that tools print; all of these are compared without regard to case (RFC 4519). */
const types: Readonly<Record<string, string>> = {
  CN: '2.5.4.3',
  SN: '2.5.4.4',
  SERIALNUMBER: '2.5.4.5',
  C: '2.5.4.6',
  L: '2.5.4.7',
  ST: '2.5.4.8',
  STREET: '2.5.4.9',
  O: '2.5.4.10',
  OU: '2.5.4.11',
  TITLE: '2.5.4.12',
  BUSINESSCATEGORY: '2.5.4.15',
  POSTALCODE: '2.5.4.17',
  GN: '2.5.4.42',
  DNQUALIFIER: '2.5.4.46',
  ORGANIZATIONIDENTIFIER: '2.5.4.97',
  UID: '0.9.2342.19200300.100.1.1',
  DC: '0.9.2342.19200300.100.1.25',
  EMAILADDRESS: '1.2.840.113549.1.9.1',
}

const foldedTypes: ReadonlySet<string> = new Set(Object.values(types))

/** Longer ones are nobody's name; what is registered is compared on each request. */
export const maxNameLength = 1_024

/**
 * A name from its text; `undefined` when it is none, or empty. Spaces around `,`, `+` and `=` do not count, as in RFC 2253.
 *
 * @see RFC 4514 section 3
 */
export function parseDistinguishedName(text: string): DistinguishedName | undefined {
  if (text.length > maxNameLength) return undefined
  const parts = splitUnescaped(text, ',').map((part) => splitUnescaped(part, '+').map(parseAttribute))
  if (!parts.every((part): part is NameAttribute[] => part.every((attribute) => attribute !== undefined))) {
    return undefined
  }
  // The text begins at the other end.
  return parts.reverse()
}

function splitUnescaped(text: string, separator: ',' | '+'): readonly string[] {
  const parts = ['']
  for (const token of text.match(/\\?./gsu) ?? []) {
    if (token === separator) parts.push('')
    else parts.push((parts.pop() ?? '') + token)
  }
  return parts
}

const attributeForm = /^ *(?<type>[A-Za-z][A-Za-z0-9-]*|[0-2](?:\.(?:0|[1-9][0-9]*))+) *= *(?<value>.*)/s
const valueForm = /^(?:\\(?:[0-9A-Fa-f]{2}|[ "#+,;<=>\\])|[^"+,;<>\\\0])*$/su

function parseAttribute(text: string): NameAttribute | undefined {
  const { type: named = '', value: given = '' } = attributeForm.exec(text)?.groups ?? {}
  const type = /^[0-9]/.test(named) ? named : types[named.toUpperCase()]
  if (type === undefined) return undefined
  const value = trimEnd(given)
  if (value.startsWith('#')) {
    const der = value.slice(1).toLowerCase()
    return /^(?:[0-9a-f]{2}){2,}$/.test(der) ? { type, der } : undefined
  }
  const unescaped = valueForm.test(value) ? unescapeValue(value) : undefined
  return unescaped === undefined || unescaped === '' ? undefined : { type, text: unescaped }
}

// An escaped space at the end is part of the value.
function trimEnd(value: string): string {
  const bare = value.replace(/ +$/, '')
  const isEscaped = /(?:^|[^\\])(?:\\\\)*\\$/.test(bare)
  return isEscaped && bare.length < value.length ? `${bare} ` : bare
}

// Pairs of hex digits are bytes of UTF-8, several of them perhaps of one character.
function unescapeValue(value: string): string | undefined {
  const bytes = (value.match(/\\[0-9A-Fa-f]{2}|\\?./gsu) ?? []).map((token) =>
    /^\\[0-9A-Fa-f]{2}$/.test(token) ? Buffer.from(token.slice(1), 'hex') : Buffer.from(token.replace(/^\\/, '')),
  )
  return decodeUtf8(Buffer.concat(bytes))
}

/** Text from UTF-8, `undefined` when it is not. */
export function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return undefined
  }
}

/** Whether two names are the same. */
export function isSameName(one: DistinguishedName, other: DistinguishedName): boolean {
  if (one.length !== other.length) return false
  return one.every((part, i) => isSamePart(part, other[i] ?? []))
}

// Each attribute of one must find its own in the other: with repeated attributes, `every … some` would let one stand for two.
function isSamePart(one: readonly NameAttribute[], other: readonly NameAttribute[]): boolean {
  const left = [...other]
  for (const attribute of one) {
    const at = left.findIndex((candidate) => isSameAttribute(attribute, candidate))
    if (at === -1) return false
    left.splice(at, 1)
  }
  return left.length === 0
}

function isSameAttribute(one: NameAttribute, other: NameAttribute): boolean {
  if (one.type !== other.type) return false
  if (one.der !== undefined && one.der === other.der) return true
  if (one.text === undefined || other.text === undefined) return false
  return prepare(one.type, one.text) === prepare(other.type, other.text)
}

// RFC 4518 section 2: one form for composed and compatible characters, no case, and one space for several.
function prepare(type: string, text: string): string {
  if (!foldedTypes.has(type)) return text
  return text
    .normalize('NFKC')
    .toLowerCase()
    .replace(/\p{Zs}+/gu, ' ')
    .replace(/^ | $/g, '')
}
