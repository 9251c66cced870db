/**
 * Identifiers in time order. All are ULIDs (https://github.com/ulid/spec): 48 bits of milliseconds and 80 random
 * bits, written as 26 characters of Crockford's base 32, so that the order of the text is the order in time and a
 * table keyed by them is appended to, never inserted into the middle.
 */
import { randomView } from './random.ts'

const alphabet = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
const timeLength = 10
const length = 26
const pairs = Array.from({ length: 1024 }, (_, n) => alphabet.charAt(n >> 5) + alphabet.charAt(n & 31))

let lastMillisecond = -1
let lastTime = ''

function encodeTime(milliseconds: number): string {
  if (milliseconds === lastMillisecond) return lastTime
  let rest = milliseconds
  let text = ''
  for (let i = 0; i < timeLength; i += 2) {
    text = pairs[rest % 1024] + text
    rest = Math.floor(rest / 1024)
  }
  lastMillisecond = milliseconds
  lastTime = text
  return text
}

/** A fresh ULID for a moment, in milliseconds since the epoch. */
export function makeUlid(milliseconds: number): string {
  const bytes = randomView(10)
  let text = encodeTime(milliseconds)
  for (let i = 0; i < 10; i += 5) {
    // 40 bits at a time: the largest whole number of both bytes and characters below 2^53.
    const high = bytes.readUInt32BE(i)
    const low = bytes[i + 4] ?? 0
    text += pairs[high >>> 22]
    text += pairs[(high >>> 12) & 1023]
    text += pairs[(high >>> 2) & 1023]
    text += pairs[((high & 3) << 8) | low]
  }
  return text
}

/** The ULID that follows another: the next of its millisecond, or the first of the next one. @throws RangeError after the last of all */
export function nextUlid(ulid: string): string {
  const [, kept = '', digit = '', full = ''] = /^(.*?)([^Z])(Z*)$/.exec(ulid) ?? []
  if (digit === '' || (kept === '' && digit === '7')) throw new RangeError('there is no later ULID')
  return kept + alphabet.charAt(alphabet.indexOf(digit) + 1) + '0'.repeat(full.length)
}

/** The smallest ULID that a moment can have: what is older sorts before it. Before the epoch there is none smaller than the first. */
export function ulidFloor(milliseconds: number): string {
  return encodeTime(Math.max(0, milliseconds)) + '0'.repeat(length - timeLength)
}

/** The largest ULID that a moment can have: what is of after it sorts behind it. */
export function ulidCeiling(milliseconds: number): string {
  return encodeTime(Math.max(0, milliseconds)) + 'Z'.repeat(length - timeLength)
}

/** The moment in a ULID, milliseconds since the epoch. */
export function ulidMilliseconds(ulid: string): number {
  let milliseconds = 0
  for (const character of ulid.slice(0, timeLength)) milliseconds = milliseconds * 32 + alphabet.indexOf(character)
  return milliseconds
}

/** Whether a text has the form of a ULID. */
export function isUlid(text: string): boolean {
  return /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/.test(text)
}

/** Names one request in the reply, the log line and the audit record. */
export type RequestId = `req_${string}`

/** A fresh request id. */
export function makeRequestId(milliseconds: number): RequestId {
  return `req_${makeUlid(milliseconds)}`
}
