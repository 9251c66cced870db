import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isClientId } from '../../src/client/client.ts'
import {
  generateSecret,
  hashSecret,
  isSecretId,
  makeSecretId,
  matchesHash,
  secretIdOf,
} from '../../src/client/client-secret.ts'
import { encodeBase62 } from '../../src/lib/base62.ts'
import { anyText } from '../support/text.ts'

const seed = 20_260_102
const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

/** A secret that anybody can make who knows the form. */
function forge(body: string): string {
  return body + encodeBase62(BigInt(crc32(body)), 6)
}

/** The text with one character changed, in every way behind the prefix. */
function changesOf(text: string): readonly string[] {
  return [...text].flatMap((own, place) =>
    [...(place < 4 ? '' : alphabet)]
      .filter((character) => character !== own)
      .map((character) => text.slice(0, place) + character + text.slice(place + 1)),
  )
}

const known = forge(`mfs_0123456789ABCDEF${'x'.repeat(43)}`)

describe('a generated secret', () => {
  it('has the form that scanners look for', () => {
    for (let i = 0; i < 1_000; i += 1) {
      const { secret, secretId } = generateSecret()
      expect(secret.reveal()).toMatch(/^mfs_[0-9A-Za-z]{65}$/)
      expect(secretId).toMatch(/^sec_[0-9A-Za-z]{16}$/)
    }
  })

  it('names its row, and its hash is that of its text', () => {
    const { secret, secretId, sha256 } = generateSecret()
    expect(secretIdOf(secret.reveal())).toBe(secretId)
    expect(Buffer.from(sha256).toString('hex')).toBe(Buffer.from(hashSecret(secret.reveal())).toString('hex'))
    expect(matchesHash(secret.reveal(), sha256)).toBe(true)
  })

  it('comes once', () => {
    const made = Array.from({ length: 1_000 }, () => generateSecret())
    expect(new Set(made.map(({ secret }) => secret.reveal())).size).toBe(1_000)
    expect(new Set(made.map(({ secretId }) => secretId)).size).toBe(1_000)
  })

  it('uses all characters at every place of its random part but the first', () => {
    const made = Array.from({ length: 4_000 }, () => generateSecret().secret.reveal())
    for (let place = 21; place < 63; place += 1) {
      expect(new Set(made.map((text) => text.charAt(place))).size, `place ${place}`).toBe(62)
    }
  })

  it('is not shown by what holds it', () => {
    const made = generateSecret()
    expect(JSON.stringify(made)).not.toContain(made.secret.reveal())
    expect(String(made.secret)).toBe('[secret]')
  })

  it('can be told by its checksum, which is a CRC-32 in base 62', () => {
    expect(secretIdOf(known)).toBe('sec_0123456789ABCDEF')
  })

  it('rejects any change of a single character, without a look at the store', () => {
    const { secret } = generateSecret()
    const accepted = [known, secret.reveal()].flatMap(changesOf).filter((text) => secretIdOf(text) !== undefined)
    expect(accepted).toEqual([])
  })

  it('rejects two neighbours that changed places', () => {
    const text = generateSecret().secret.reveal()
    for (let place = 4; place < text.length - 1; place += 1) {
      const swapped = text.slice(0, place) + text.charAt(place + 1) + text.charAt(place) + text.slice(place + 2)
      if (swapped !== text) expect(secretIdOf(swapped)).toBeUndefined()
    }
  })

  it.each([
    ['nothing', ''],
    ['the prefix alone', 'mfs_'],
    ['another prefix', known.replace('mfs_', 'mfr_')],
    ['the prefix in upper case', known.replace('mfs_', 'MFS_')],
    ['one character less', known.slice(0, -1)],
    ['one character more', `${known}0`],
    ['a space before', ` ${known}`],
    ['a line break behind', `${known}\n`],
    ['a hyphen inside', known.replace('xxx', 'x-x')],
    ['a letter that is not ASCII', known.replace('xxx', 'xéx')],
    ['a NUL inside', known.replace('xxx', 'x\0x')],
    ['the form of a refresh token, its checksum right', forge(`mfr_0123456789ABCDEF${'x'.repeat(43)}`)],
    ['the prefix in upper case, the checksum right', forge(`MFS_0123456789ABCDEF${'x'.repeat(43)}`)],
    ['a hyphen at the end of it, the checksum right', forge(`mfs_0123456789ABCDEF${'x'.repeat(42)}-`)],
    ['a letter that is not ASCII, the checksum right', forge(`mfs_0123456789ABCDEF${'x'.repeat(42)}é`)],
    ['no id', forge(`mfs_${'x'.repeat(43)}`)],
  ])('rejects %s', (_, text) => {
    expect(secretIdOf(text)).toBeUndefined()
  })

  it('rejects whatever text without an error', () => {
    const texts = fc.oneof(anyText(), fc.stringMatching(/^mfs_[0-9A-Za-z]{65}$/))
    fc.assert(
      fc.property(texts, (text) => {
        const id = secretIdOf(text)
        expect(id === undefined || text === forge(text.slice(0, -6))).toBe(true)
      }),
      { seed, numRuns: 500 },
    )
  })
})

describe('the hash of a secret', () => {
  it('is SHA-256', () => {
    expect(Buffer.from(hashSecret('abc')).toString('hex')).toBe(
      'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
    )
  })

  it.each([
    ['another text', 'abd', hashSecret('abc')],
    ['a shorter text', 'ab', hashSecret('abc')],
    ['no text', '', hashSecret('abc')],
    ['a hash cut short', 'abc', hashSecret('abc').slice(0, 31)],
    ['an empty hash', 'abc', new Uint8Array()],
    ['a hash of zeros', 'abc', new Uint8Array(32)],
  ])('does not match %s', (_, text, hash) => {
    expect(matchesHash(text, hash)).toBe(false)
  })
})

describe('the id of an imported secret', () => {
  it('has the form of every other, and comes once', () => {
    const made = Array.from({ length: 1_000 }, makeSecretId)
    for (const id of made) expect(id).toMatch(/^sec_[0-9A-Za-z]{16}$/)
    expect(new Set(made).size).toBe(1_000)
  })
})

describe('the id of a secret', () => {
  it('is told from the names of what else proves a client', () => {
    expect(isSecretId(makeSecretId())).toBe(true)
    for (const id of ['key_sec_', 'crt_x', 'sec', '', known]) expect(isSecretId(id)).toBe(false)
  })
})

describe('a client id', () => {
  it.each(['billing', 'a', 'A.b_c-9', '0', '-', '.', 'mf_x', 'mfsx', 'not-mfs_x', 'x'.repeat(128)])('is %s', (id) => {
    expect(isClientId(id)).toBe(true)
  })

  it.each([
    ['nothing', ''],
    ['129 characters', 'x'.repeat(129)],
    ['a space', 'a b'],
    ['a colon, which ends the id in Basic', 'a:b'],
    ['a slash', 'a/b'],
    ['an escape', 'a%20b'],
    ['a NUL', 'a\0b'],
    ['a line break behind', 'billing\n'],
    ['ESC', '\u001b[2J'],
    ['a letter that is not ASCII', 'bílling'],
    ['a Cyrillic letter that looks like a Latin one', 'b\u0456lling'],
    ['a full-width letter', '\uff42illing'],
    ['a letter without width', 'bil\u200bling'],
    ['the form of a secret', 'mfs_x'],
    ['the form of a refresh token', 'mfr_x'],
  ])('C06 is not %s', (_, id) => {
    expect(isClientId(id)).toBe(false)
  })
})
