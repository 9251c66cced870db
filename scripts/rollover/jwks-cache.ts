/** A JWKS as an HTTP cache keeps it, by `max-age` (RFC 9111), counted from the moment that it was asked for (section 4.2.3). */
import { createLocalJWKSet } from 'jose'

type KeySet = ReturnType<typeof createLocalJWKSet>

interface Kept {
  readonly keys: KeySet
  readonly freshUntil: number
}

const attempts = 3

export class JwksCache {
  readonly #url: string
  readonly #lifetimeMilliseconds: ((maxAgeMilliseconds: number) => number) | undefined
  #kept: Kept | undefined
  #loading: Promise<Kept> | undefined

  /** @param lifetime how long it really keeps one that says `max-age`; as long as that unless given */
  constructor(url: string, lifetime?: (maxAgeMilliseconds: number) => number) {
    this.#url = url
    this.#lifetimeMilliseconds = lifetime
  }

  /** The kept set while it is fresh, else a new one. */
  async keys(): Promise<KeySet> {
    for (let made = 0; made < attempts; made += 1) {
      if (this.#kept !== undefined && Date.now() < this.#kept.freshUntil) return this.#kept.keys
      await this.reload()
    }
    throw new Error('the JWKS is stale when it comes')
  }

  /** A new set, whatever is kept. One request serves all who wait. */
  async reload(): Promise<KeySet> {
    this.#loading ??= this.#load().finally(() => {
      this.#loading = undefined
    })
    return (await this.#loading).keys
  }

  async #load(): Promise<Kept> {
    const asked = Date.now()
    const response = await fetch(this.#url)
    if (!response.ok) throw new Error(`the JWKS is answered ${response.status}`)
    const maxAge = Number(/max-age=([0-9]+)/.exec(response.headers.get('cache-control') ?? '')?.[1] ?? 0) * 1000
    const keys = createLocalJWKSet((await response.json()) as Parameters<typeof createLocalJWKSet>[0])
    this.#kept = { keys, freshUntil: asked + (this.#lifetimeMilliseconds?.(maxAge) ?? maxAge) }
    return this.#kept
  }
}
