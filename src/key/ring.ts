import { createPrivateKey } from 'node:crypto'
import type { KeyMaterial } from './key-store.ts'
import { decryptPrivateKey, type MasterKey, type RootKey, unwrapRootKey } from './root-key.ts'
import type { Signer, SigningAlg } from './signer.ts'
import { createLocalSigner } from './signers/local.ts'
import { KeyMaterialError, type PublicJwk, type SigningKey, type StoredSigningKey, selfTest } from './signing-key.ts'

/** The published keys of an installation at one moment, tested and ready to sign. */
export class KeyRing {
  readonly #keys: readonly SigningKey[]
  readonly #active: ReadonlyMap<SigningAlg, SigningKey>

  constructor(keys: readonly SigningKey[]) {
    this.#keys = keys
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

  /** The public halves, for the JWKS: active keys first. */
  publicJwks(): readonly PublicJwk[] {
    return this.#keys.map((key) => key.publicJwk)
  }

  /** How many keys are in each state, for the operator. */
  get keys(): readonly Pick<SigningKey, 'kid' | 'alg' | 'state'>[] {
    return this.#keys
  }
}

/** Wraps or replaces a signer as it is opened; the identity unless a test holds it up. */
export type SignerHook = (signer: Signer) => Signer

/**
 * Opens rings from what lies in the store. It keeps what it opened: a key is decrypted and tested once in the life of
 * a process, however often the registry moves.
 */
export class KeyRingOpener {
  readonly #master: MasterKey
  readonly #hook: SignerHook
  readonly #signers = new Map<string, { signer: Signer; publicJwk: string }>()

  constructor(master: MasterKey, hook: SignerHook = (signer) => signer) {
    this.#master = master
    this.#hook = hook
  }

  /** @throws KeyMaterialError when a key cannot be decrypted or fails its self-test, or an algorithm has no active key */
  async open(material: KeyMaterial): Promise<KeyRing> {
    const roots = new Map<number, RootKey>()
    for (const root of material.rootKeys) {
      roots.set(root.version, unwrapRootKey(root, this.#master, material.storeId))
    }
    const keys: SigningKey[] = []
    for (const stored of material.signingKeys) keys.push(await this.#openKey(stored, roots, material.storeId))
    this.#forgetOthers(keys)
    return new KeyRing(keys.toSorted((a, b) => rank(a) - rank(b)))
  }

  async #openKey(stored: StoredSigningKey, roots: Map<number, RootKey>, storeId: string): Promise<SigningKey> {
    const { kid, alg, state, publicJwk } = stored
    const published = JSON.stringify(publicJwk)
    const known = this.#signers.get(kid)
    if (known?.publicJwk === published) return { kid, alg, state, publicJwk, signer: known.signer }
    const root = roots.get(stored.rootVersion)
    if (root === undefined) throw new KeyMaterialError(`root key ${stored.rootVersion} is not in the database`)
    const pkcs8 = decryptPrivateKey(root, storeId, kid, stored.encryptedPrivateKey)
    const privateKey = createPrivateKey({ key: Buffer.from(pkcs8), format: 'der', type: 'pkcs8' })
    const signer = createLocalSigner(kid, alg, privateKey)
    await selfTest(signer, publicJwk)
    const hooked = this.#hook(signer)
    this.#signers.set(kid, { signer: hooked, publicJwk: published })
    return { kid, alg, state, publicJwk, signer: hooked }
  }

  #forgetOthers(keys: readonly SigningKey[]): void {
    const kept = new Set(keys.map((key) => key.kid))
    for (const kid of this.#signers.keys()) if (!kept.has(kid)) this.#signers.delete(kid)
  }
}

function rank(key: SigningKey): number {
  return (key.state === 'active' ? 0 : 2) + (key.alg === 'ES256' ? 0 : 1)
}
