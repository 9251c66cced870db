/**
 * Nonces without a memory. A nonce is the minute in which it was made and a MAC of it, so every process that has the key
 * takes it, also after a restart, and nothing is stored:
 *
 *   base64url( version of the root, 4 bytes | minute since the epoch, 4 bytes | HMAC-SHA-256(key, both), 16 bytes )
 *
 * All who ask within a minute get the same one. It may be used again, with another `jti` each time: it shows that a proof
 * was not made long ahead of its use, and that is all it is for. It lives for five minutes from the beginning of its own.
 *
 * The keys come from the root by a label for the token endpoint alone, so a nonce of a service is none here, and the other
 * way round (RFC 9449 section 9). A key of an older root makes no new ones, and what it made is over within those five
 * minutes.
 *
 * @see RFC 9449 sections 8 and 11.3
 */
import { createHmac, type KeyObject, timingSafeEqual } from 'node:crypto'

/** From the beginning of its minute until a nonce is over. */
export const nonceLifeSeconds = 300
const stepSeconds = 60
/** By how much the clocks of processes may differ that make nonces for each other. */
const aheadMilliseconds = 10_000

const headLength = 8
const macLength = 16
/** 24 bytes as base64url: all of RFC 9449's NQCHAR. */
const form = /^[A-Za-z0-9_-]{32}$/

/** The keys that nonces are made with, by the version of their root. */
export interface NonceKeys {
  readonly newestVersion: number
  /** `undefined` for a root that is no longer there. */
  keyOf(rootVersion: number): KeyObject | undefined
}

/** The nonce of this moment (milliseconds since the epoch). */
export function makeNonce({ newestVersion, keyOf }: NonceKeys, now: number): string {
  const key = keyOf(newestVersion)
  if (key === undefined) throw new Error('there is no key to make nonces with')
  const head = Buffer.alloc(headLength)
  head.writeUInt32BE(newestVersion, 0)
  head.writeUInt32BE(stepOf(now), 4)
  return Buffer.concat([head, macOf(head, key)]).toString('base64url')
}

/**
 * Until when a nonce is good, milliseconds since the epoch; `undefined` for one that is not, or not any more.
 *
 * @param now by a clock that does not go back, or a nonce that is over would live again
 */
export function readNonce(nonce: string, { keyOf }: NonceKeys, now: number): number | undefined {
  if (!form.test(nonce)) return undefined
  const bytes = Buffer.from(nonce, 'base64url')
  const [head, mac] = [bytes.subarray(0, headLength), bytes.subarray(headLength)]
  const key = keyOf(head.readUInt32BE(0))
  if (key === undefined || !timingSafeEqual(mac, macOf(head, key))) return undefined
  const start = head.readUInt32BE(4) * stepSeconds * 1000
  const end = start + nonceLifeSeconds * 1000
  return start - aheadMilliseconds <= now && now < end ? end : undefined
}

function stepOf(now: number): number {
  return Math.floor(now / (stepSeconds * 1000))
}

function macOf(head: Uint8Array, key: KeyObject): Buffer {
  return createHmac('sha256', key).update(head).digest().subarray(0, macLength)
}
