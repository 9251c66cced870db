/**
 * The refresh token of one generation of a family: `mfr_`, the version of the root in 4 characters, the family in 26, the
 * generation in 8, an HMAC-SHA-256 in 43 and a CRC-32 in 6, all base 62 but the family, which is a ULID.
 *
 * It is derived, never stored: HMAC(key of the root, family, generation, seed of the family). Without the key the database
 * makes none, without the database the key makes none; and whoever asks again gets the same bytes.
 *
 * @see RFC 6749 section 1.5
 */
import { createHmac, type KeyObject, timingSafeEqual } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { decodeBase62Number, encodeBase62, encodeBase62Number } from '../lib/base62.ts'

/** How every refresh token begins. */
export const ticketPrefix = 'mfr_'

// Version, family, generation, HMAC, CRC. Eight characters always fit into a number.
const form = /^mfr_([0-9A-Za-z]{4})([0-7][0-9A-HJKMNP-TV-Z]{25})([0-9A-Za-z]{8})([0-9A-Za-z]{43})([0-9A-Za-z]{6})$/

/** What can be read from a ticket without a key. Nothing of it may be believed before `isTicketOf`. */
export interface TicketParts {
  readonly rootVersion: number
  readonly familyId: string
  readonly generation: number
  readonly mac: string
}

type Derivation = Pick<TicketParts, 'rootVersion' | 'familyId' | 'generation'>

/** The ticket of one generation. */
export function makeTicket(derivation: Derivation, seed: Uint8Array, key: KeyObject): string {
  const { rootVersion, familyId, generation } = derivation
  const head = ticketPrefix + encodeBase62Number(rootVersion, 4) + familyId + encodeBase62Number(generation, 8)
  const body = head + macOf(derivation, seed, key)
  return body + encodeBase62Number(crc32(body), 6)
}

/** Takes a ticket apart; `undefined` when it does not have the form of one. */
export function parseTicket(text: string): TicketParts | undefined {
  const [, version = '', familyId = '', generation = '', mac = '', crc] = form.exec(text) ?? []
  if (crc !== encodeBase62Number(crc32(text.slice(0, -6)), 6)) return undefined
  return {
    rootVersion: decodeBase62Number(version),
    familyId,
    generation: decodeBase62Number(generation),
    mac,
  }
}

/** Whether a ticket was derived from this seed and key. */
export function isTicketOf(parts: TicketParts, seed: Uint8Array, key: KeyObject): boolean {
  return timingSafeEqual(Buffer.from(parts.mac), Buffer.from(macOf(parts, seed, key)))
}

// The key is an object of node:crypto: given as bytes it would be made into one each time, which takes ten times as long as
// the HMAC.
function macOf({ rootVersion, familyId, generation }: Derivation, seed: Uint8Array, key: KeyObject): string {
  const mac = createHmac('sha256', key).update(`${rootVersion}.${familyId}.${generation}.`).update(seed).digest('hex')
  return encodeBase62(BigInt(`0x${mac}`), 43)
}
