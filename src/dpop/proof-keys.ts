import { LRUCache } from 'lru-cache'
import { type ForeignKey, parsePublicJwk } from '../oauth/public-jwk.ts'

const keysInMemory = 2_000
/** An RSA key of 8192 bits with its names has less. */
const maxTextLength = 2_048

/**
 * Keys of proofs, ready to verify with. A workload shows the same one for hours, and to take it apart each time costs as much
 * as its signature. A key is known by all of its text, and one that was not taken is not kept.
 */
export class ProofKeys {
  readonly #known = new LRUCache<string, ForeignKey>({ max: keysInMemory })

  /** @throws PublicJwkError as `parsePublicJwk` does */
  read(jwk: unknown): ForeignKey {
    const text = JSON.stringify(jwk) ?? ''
    const known = this.#known.get(text)
    if (known !== undefined) return known
    const key = parsePublicJwk(jwk)
    if (text.length <= maxTextLength) this.#known.set(text, key)
    return key
  }

  get size(): number {
    return this.#known.size
  }
}
