import { describe, expect, it } from 'vitest'
import { ProofKeys } from '../../src/dpop/proof-keys.ts'
import { makeProofKey } from '../support/proof.ts'

describe('keys of proofs', () => {
  it('are taken apart once, whatever else is asked between', () => {
    const keys = new ProofKeys()
    const [one, other] = [makeProofKey(), makeProofKey('Ed25519')]
    const first = keys.read(one.jwk)
    expect(first.thumbprint).toBe(one.jkt)
    expect(keys.read(other.jwk).thumbprint).toBe(other.jkt)
    expect(keys.read({ ...one.jwk })).toBe(first)
    expect(keys.size).toBe(2)
  })

  it('are not taken for one another when a member differs', () => {
    const keys = new ProofKeys()
    const { jwk, jkt } = makeProofKey()
    const plain = keys.read(jwk)
    const named = keys.read({ ...jwk, alg: 'ES256', kid: 'x' })
    expect(named).not.toBe(plain)
    expect([named.thumbprint, named.jwk.kid]).toEqual([jkt, 'x'])
    for (const bad of [
      { ...jwk, d: 'x' },
      { ...jwk, use: 'enc' },
      { ...jwk, alg: 'RS256' },
    ])
      expect(() => keys.read(bad)).toThrow()
  })

  it('C18 are refused each time where they were refused, and not kept', () => {
    const keys = new ProofKeys()
    for (let i = 0; i < 3; i += 1)
      for (const bad of [undefined, null, {}, 'x', { kty: 'oct', k: 'AA' }])
        expect(() => keys.read(bad)).toThrow(/^its? /)
    expect(keys.size).toBe(0)
  })

  it('F36 are bounded in number, and in size', () => {
    const keys = new ProofKeys()
    const { jwk, jkt } = makeProofKey()
    for (let i = 0; i < 2_100; i += 1) keys.read({ ...jwk, note: i })
    expect(keys.size).toBe(2_000)
    const padded = (length: number) => {
      const bare = { ...jwk, note: '' }
      return { ...bare, note: 'n'.repeat(length - JSON.stringify(bare).length) }
    }
    const others = new ProofKeys()
    for (const length of [2_049, 4_000]) expect(others.read(padded(length)).thumbprint).toBe(jkt)
    expect(others.size).toBe(0)
    others.read(padded(2_048))
    expect(others.size).toBe(1)
  })
})
