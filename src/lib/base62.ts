const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

// As many characters as surely fit into a number: a division of bigints costs as much as eight of numbers.
const partLength = 8
const part = 62n ** BigInt(partLength)

/** An unsigned integer in base 62, padded with `0` on the left to `length` characters. */
export function encodeBase62(value: bigint, length: number): string {
  let rest = value
  let text = ''
  while (rest >= part) {
    text = encodeBase62Number(Number(rest % part), partLength) + text
    rest /= part
  }
  return (encodeBase62Number(Number(rest), 0) + text).padStart(length, '0')
}

/** The same for a number below 2^53, without the cost of a bigint. */
export function encodeBase62Number(value: number, length: number): string {
  let rest = value
  let text = ''
  while (rest > 0) {
    text = alphabet.charAt(rest % 62) + text
    rest = Math.floor(rest / 62)
  }
  return text.padStart(length, '0')
}

/** What `encodeBase62Number` wrote; above 2^53 it is no longer exact. Only for texts of the alphabet. */
export function decodeBase62Number(text: string): number {
  let value = 0
  for (const character of text) value = value * 62 + alphabet.indexOf(character)
  return value
}
