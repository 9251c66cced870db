import { createPrivateKey, createSecretKey, type KeyObject } from 'node:crypto'
import type { KeyMaterial } from './key-store.ts'
import type { RingMark } from './ring-clock.ts'
import {
  decryptPrivateKey,
  deriveKey,
  type MasterKey,
  type RootKey,
  unwrapRootKey,
  type WrappedRootKey,
} from './root-key.ts'
import type { Signer, SigningAlg } from './signer.ts'
import { createLocalSigner } from './signers/local.ts'
import { KeyMaterialError, type PublicJwk, type SigningKey, type StoredSigningKey, selfTest } from './signing-key.ts'
import { makeVerifyingKey, type VerifyingKey } from './verifying-key.ts'

/** What a ring belongs to, and what new keys of it are made with. */
export interface RingRoot {
  readonly storeId: string
  readonly root: RootKey
}

/** Keys for one use that derive from the root keys, by the version of their root. */
export interface DerivedKeys {
  readonly newestVersion: number
  /** `undefined` for a root that is no longer there. */
  keyOf(rootVersion: number): KeyObject | undefined
}

interface RingParts {
  readonly mark?: RingMark
  readonly root?: RingRoot
  /** What refresh tickets are derived from, by the version of the root. */
  readonly ticketKeys?: ReadonlyMap<number, KeyObject>
  /** What DPoP nonces are made with, likewise. */
  readonly nonceKeys?: ReadonlyMap<number, KeyObject>
}

const noMark: RingMark = { highWater: 0, running: 0, resets: 0 }

/** The published keys of an installation at one moment, tested and ready to sign. */
export class KeyRing {
  readonly keys: readonly SigningKey[]
  /** What was stored of the ring's clocks when it was read. */
  readonly mark: RingMark
  readonly #root: RingRoot | undefined
  readonly #active: ReadonlyMap<SigningAlg, SigningKey>
  readonly #verifying = new Map<string, VerifyingKey>()
  readonly #ticketKeys: ReadonlyMap<number, KeyObject>
  readonly #nonceKeys: ReadonlyMap<number, KeyObject>

  constructor(keys: readonly SigningKey[], parts: RingParts = {}) {
    const { mark = noMark, root, ticketKeys = new Map(), nonceKeys = new Map() } = parts
    this.keys = keys
    this.mark = mark
    this.#root = root
    this.#ticketKeys = ticketKeys
    this.#nonceKeys = nonceKeys
    this.#active = new Map(keys.filter((key) => key.state === 'active').map((key) => [key.alg, key]))
  }

  /**
   * The signer for an algorithm.
   *
   * @throws KeyMaterialError when no key is active: a staged one must not step in by itself
   */
  activeSigner(alg: SigningAlg): Signer {
    const key = this.#active.get(alg)
    if (key === undefined) {
      throw new KeyMaterialError(`no ${alg} key is active in the database: put back a backup of it that has one`)
    }
    return key.signer
  }

  /** What verifies the tokens of a key; `undefined` unless it is published. */
  verifyingKey(kid: string): VerifyingKey | undefined {
    const known = this.#verifying.get(kid)
    if (known !== undefined) return known
    const key = this.keys.find((candidate) => candidate.kid === kid)
    if (key === undefined) return undefined
    const made = makeVerifyingKey(key)
    this.#verifying.set(kid, made)
    return made
  }

  /** The public halves, for the JWKS: active keys first. */
  publicJwks(): readonly PublicJwk[] {
    return this.keys.map((key) => key.publicJwk)
  }

  /** What refresh tickets are derived from. @throws KeyMaterialError when there is no root key */
  get ticketKeys(): DerivedKeys {
    return this.#derivedKeys(this.#ticketKeys)
  }

  /** What DPoP nonces are made with. @throws KeyMaterialError when there is no root key */
  get nonceKeys(): DerivedKeys {
    return this.#derivedKeys(this.#nonceKeys)
  }

  /** The newest root key, to make keys with. @throws KeyMaterialError when there is none */
  get root(): RingRoot {
    if (this.#root === undefined) throw new KeyMaterialError('the database has no root key')
    return this.#root
  }

  #derivedKeys(keys: ReadonlyMap<number, KeyObject>): DerivedKeys {
    return { newestVersion: this.root.root.version, keyOf: (version) => keys.get(version) }
  }
}

/** Wraps or replaces a signer as it is opened; the identity unless a test holds it up. */
export type SignerHook = (signer: Signer) => Signer

/** Where the master key may be read again, once it has changed. */
export interface OpenerOptions {
  readonly hook?: SignerHook | undefined
  /** @throws KeyMaterialError */
  readonly rereadMasterKey?: () => MasterKey | undefined
}

/**
 * Opens rings from what lies in the store. It keeps what it opened: a key is decrypted and tested once in the life of
 * a process, however often the registry moves, and tested again when it begins to sign. A root is unwrapped once, so that
 * a process goes on when the master key is replaced under it.
 */
export class KeyRingOpener {
  readonly #options: OpenerOptions
  readonly #roots = new Map<number, RootKey>()
  readonly #ticketKeys = new Map<number, KeyObject>()
  readonly #nonceKeys = new Map<number, KeyObject>()
  readonly #signers = new Map<string, { signer: Signer; own: Signer; publicJwk: string; testedActive: boolean }>()
  #master: MasterKey

  constructor(master: MasterKey, options: OpenerOptions = {}) {
    this.#master = master
    this.#options = options
  }

  /** @throws KeyMaterialError when a key cannot be decrypted or fails its self-test */
  async open(material: KeyMaterial): Promise<KeyRing> {
    const { storeId, rootKeys, ringMark } = material
    for (const wrapped of rootKeys) {
      if (this.#roots.has(wrapped.version)) continue
      const root = this.#unwrap(wrapped, storeId)
      this.#roots.set(wrapped.version, root)
      this.#ticketKeys.set(wrapped.version, createSecretKey(deriveKey(root, 'refresh tickets')))
      // A key that is not imported is imported for each MAC, which costs ten times the MAC.
      this.#nonceKeys.set(wrapped.version, createSecretKey(deriveKey(root, 'dpop nonces of the token endpoint')))
    }
    const keys: SigningKey[] = []
    for (const stored of material.signingKeys) keys.push(await this.#openKey(stored, storeId))
    this.#forgetOthers(material)
    const root = this.#roots.get(Math.max(...this.#roots.keys()))
    return new KeyRing(
      keys.toSorted((a, b) => rank(a) - rank(b)),
      {
        mark: ringMark,
        ticketKeys: new Map(this.#ticketKeys),
        nonceKeys: new Map(this.#nonceKeys),
        ...(root === undefined ? {} : { root: { storeId, root } }),
      },
    )
  }

  #unwrap(wrapped: WrappedRootKey, storeId: string): RootKey {
    try {
      return unwrapRootKey(wrapped, this.#master, storeId)
    } catch {
      // Somebody may have replaced the master key since this process started.
      return this.#unwrapAnew(wrapped, storeId)
    }
  }

  #unwrapAnew(wrapped: WrappedRootKey, storeId: string): RootKey {
    try {
      const master = this.#options.rereadMasterKey?.() ?? this.#master
      const root = unwrapRootKey(wrapped, master, storeId)
      this.#master = master
      return root
    } catch (cause) {
      throw new KeyMaterialError(
        'the root key was replaced, and this process does not have the master key that opens it: put that where MAYFLY_MASTER_KEY_FILE of this process points, or restart it with the path',
        { cause },
      )
    }
  }

  async #openKey(stored: StoredSigningKey, storeId: string): Promise<SigningKey> {
    const { encryptedPrivateKey, rootVersion, ...facts } = stored
    const { kid, alg, publicJwk } = facts
    const published = JSON.stringify(publicJwk)
    const known = this.#signers.get(kid)
    const isActive = facts.state === 'active'
    if (known?.publicJwk === published) {
      if (isActive && !known.testedActive) await selfTest(known.own, publicJwk)
      known.testedActive ||= isActive
      return { ...facts, signer: known.signer }
    }
    const root = this.#roots.get(rootVersion)
    if (root === undefined) throw new KeyMaterialError(`root key ${rootVersion} is not in the database`)
    const pkcs8 = decryptPrivateKey(root, storeId, kid, encryptedPrivateKey)
    const privateKey = createPrivateKey({ key: Buffer.from(pkcs8), format: 'der', type: 'pkcs8' })
    const signer = createLocalSigner(kid, alg, privateKey)
    await selfTest(signer, publicJwk)
    const hooked = this.#options.hook?.(signer) ?? signer
    this.#signers.set(kid, { signer: hooked, own: signer, publicJwk: published, testedActive: isActive })
    return { ...facts, signer: hooked }
  }

  #forgetOthers({ signingKeys, rootKeys }: KeyMaterial): void {
    const kids = new Set(signingKeys.map((key) => key.kid))
    for (const kid of this.#signers.keys()) if (!kids.has(kid)) this.#signers.delete(kid)
    const versions = new Set(rootKeys.map((root) => root.version))
    for (const version of this.#roots.keys()) {
      if (versions.has(version)) continue
      this.#roots.delete(version)
      this.#ticketKeys.delete(version)
      this.#nonceKeys.delete(version)
    }
  }
}

function rank(key: SigningKey): number {
  return (key.state === 'active' ? 0 : 2) + (key.alg === 'ES256' ? 0 : 1)
}
