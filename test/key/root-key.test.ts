import { describe, expect, it } from 'vitest'
import {
  decryptPrivateKey,
  deriveKey,
  encryptPrivateKey,
  makeRootKey,
  type RootKey,
  unwrapRootKey,
  wrapRootKey,
} from '../../src/key/root-key.ts'

const root: RootKey = { version: 3, bytes: Uint8Array.from({ length: 32 }, (_, i) => i) }
const master = Uint8Array.from({ length: 32 }, (_, i) => 255 - i)

// As the first release of Mayfly wrote them.
const wrapped = Buffer.from(
  'SuE7VwV2aPEQypS1AykdzgNilGKZyZvGMXltZybetJf8ZZghj_Wca_uvnZ0Vy4Acy_v_ynhnRfh_4HvZ',
  'base64url',
)
const encrypted = Buffer.from('C37e2D5ZNeOGhkBdrljoKZMall3n0eFMGiuxuHhKI0xRHLM', 'base64url')

describe('key material that an earlier version stored', () => {
  it('is unwrapped: a root key by its master key', () => {
    const { version, bytes } = unwrapRootKey({ version: 3, wrapped }, master, 'store')
    expect([version, Uint8Array.from(bytes)]).toEqual([3, root.bytes])
  })

  it('is decrypted: a private key by its root key', () => {
    expect(Buffer.from(decryptPrivateKey(root, 'store', 'kid', encrypted)).toString()).toBe('private')
  })

  it('is refused in another version, database, row, or under another key, with a sentence that says what to do', () => {
    const refused =
      /^key material in the database cannot be decrypted: put back the newest file that `mayfly db backup`/
    const thrown = expect.objectContaining({ name: 'KeyMaterialError', message: expect.stringMatching(refused) })
    expect(() => unwrapRootKey({ version: 1, wrapped }, master, 'store')).toThrow(thrown)
    expect(() => unwrapRootKey({ version: 3, wrapped }, master, 'other')).toThrow(thrown)
    expect(() => unwrapRootKey({ version: 3, wrapped }, root.bytes, 'store')).toThrow(thrown)
    expect(() => decryptPrivateKey(root, 'other', 'kid', encrypted)).toThrow(thrown)
    expect(() => decryptPrivateKey(root, 'store', 'other', encrypted)).toThrow(thrown)
    expect(() => decryptPrivateKey({ ...root, bytes: master }, 'store', 'kid', encrypted)).toThrow(thrown)
  })

  it('is refused with what was wrong as its cause', () => {
    try {
      unwrapRootKey({ version: 3, wrapped }, master, 'other')
      expect.fail('it was unwrapped')
    } catch (error) {
      expect(error).toHaveProperty('cause', expect.any(Error))
    }
  })

  it('I2 is refused when its tag was cut short, so that no tag can be guessed', () => {
    for (let bytes = 1; bytes <= 16; bytes += 1) {
      expect(() => unwrapRootKey({ version: 3, wrapped: wrapped.subarray(0, -bytes) }, master, 'store')).toThrow(
        /cannot be decrypted/,
      )
    }
  })
})

describe('a root key', () => {
  it('has 256 random bits and the version that was asked for', () => {
    const made = Array.from({ length: 100 }, () => makeRootKey(7))
    for (const { version, bytes } of made) expect([version, bytes.length]).toEqual([7, 32])
    expect(new Set(made.map(({ bytes }) => Buffer.from(bytes).toString('hex'))).size).toBe(100)
  })

  it('keeps its version when it is wrapped, and is 12 bytes of nonce and 16 of tag longer', () => {
    const made = wrapRootKey(root, master, 'store')
    expect([made.version, made.wrapped.length]).toEqual([3, 12 + 32 + 16])
    expect(encryptPrivateKey(root, 'store', 'kid', Buffer.from('private'))).toHaveLength(12 + 7 + 16)
  })

  it('derives other keys of 256 bits, that are not itself and differ from root to root', () => {
    const derived = Buffer.from(deriveKey(root, 'signing key encryption'))
    expect(derived).toHaveLength(32)
    expect(derived.equals(root.bytes)).toBe(false)
    expect(derived.equals(deriveKey({ ...root, bytes: master }, 'signing key encryption'))).toBe(false)
  })

  it('derives the keys of nonces as every version does, and other ones for each use', () => {
    const labels = ['signing key encryption', 'refresh tickets', 'dpop nonces of the token endpoint'] as const
    const derived = labels.map((label) => Buffer.from(deriveKey(root, label)).toString('base64url'))
    expect(new Set(derived).size).toBe(labels.length)
    expect(derived[2]).toBe('sXS0i8S56ZX680eIP53eLjkKJFu1T0vaZFmxJeNB71E')
  })
})
