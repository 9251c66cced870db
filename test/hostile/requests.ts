/** What hostile requests are made of. */
import fc from 'fast-check'
import { canary } from '../support/hostile.ts'

export const formType = 'application/x-www-form-urlencoded'

/** Any bytes, as latin-1 text: one character a byte. */
export const bytes = (maxLength: number): fc.Arbitrary<string> =>
  fc.uint8Array({ maxLength }).map((array) => Buffer.from(array).toString('latin1'))

/** Any bytes that may stand in a header's value. */
export const headerBytes = (maxLength: number): fc.Arbitrary<string> =>
  fc.array(fc.oneof({ weight: 6, arbitrary: printable }, { weight: 1, arbitrary: obsolete }), { maxLength }).map(toText)

const printable = fc.integer({ min: 0x20, max: 0x7e })
const obsolete = fc.oneof(fc.integer({ min: 0x80, max: 0xff }), fc.constant(0x09))

function toText(codes: readonly number[]): string {
  return String.fromCharCode(...codes).trim()
}

/** Good and bad percent-encodings, separators, and what JavaScript has a meaning for. */
export const encodedText: fc.Arbitrary<string> = fc
  .array(
    fc.oneof(
      fc.constantFrom('%', '%4', '%00', '%0d%0a', '%C3%A9', '%C0%80', '%ED%A0%80', '%FF', '%25', '+', '%20', '%zz'),
      fc.constantFrom('a', '=', ';', '"', '\\', '<b>', '__proto__', 'constructor', '\u00e9', '\0', canary),
      fc.integer({ min: 0, max: 255 }).map((byte) => `%${byte.toString(16).padStart(2, '0')}`),
    ),
    { maxLength: 12 },
  )
  .map((pieces) => pieces.join(''))

/** A request with a body, framed by its length or in chunks. */
export interface Framed {
  readonly head: readonly string[]
  readonly body: string
  /** Where the body is cut into chunks; framed by its length when absent. */
  readonly chunks?: readonly number[] | undefined
}

export function frame({ head, body, chunks }: Framed): string {
  if (chunks === undefined) return [...head, `Content-Length: ${body.length}`, '', body].join('\r\n')
  const cuts = [...new Set([0, ...chunks.map((cut) => cut % (body.length + 1)), body.length])].sort((a, b) => a - b)
  const parts = cuts.slice(1).map((cut, i) => body.slice(cuts[i], cut))
  const encoded = parts.filter((part) => part !== '').map((part) => `${part.length.toString(16)}\r\n${part}\r\n`)
  return [...head, 'Transfer-Encoding: chunked', '', `${encoded.join('')}0\r\n\r\n`].join('\r\n')
}

export const chunking = fc.option(fc.array(fc.nat(), { maxLength: 4 }), { nil: undefined })

export const honestForm = 'grant_type=client_credentials'

/** A good request for a token, as a good client writes it, with what a test adds. */
export function honestRequest(basic: string, more: readonly string[] = [], body = honestForm): string {
  const head = ['POST /token HTTP/1.1', 'Host: x', `Content-Type: ${formType}`, `Authorization: ${basic}`, ...more]
  return frame({ head, body })
}
