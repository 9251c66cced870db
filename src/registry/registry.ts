/**
 * The registry as a process sees it: clients, resources and the key ring, held in memory with the sequence that they
 * were read at.
 *
 * A decision is made on one `RegistryView`, which has one sequence. It counts only if that is still the store's
 * sequence: for a token the commit of its audit record checks (the fence), for a refusal `decide` does, for an answer that
 * nothing is committed for `decideNow`, and for the JWKS `currentOrLast`. If the registry moved, the decision is made again
 * on a new view. So nothing that starts after a change has returned is decided by what was before it, in any process.
 *
 * Entries read at an older sequence stay in memory until they are asked for, and are then read again.
 */
import { LRUCache } from 'lru-cache'
import type { ClientLookup } from '../client/authenticate.ts'
import type { Client } from '../client/client.ts'
import type { ClientStore } from '../client/client-store.ts'
import type { ArgonCost } from '../client/imported-secret.ts'
import type { KeyMaterial, KeyStore, RememberedTiming } from '../key/key-store.ts'
import type { KeyRing, KeyRingOpener } from '../key/ring.ts'
import { KeyMaterialError } from '../key/signing-key.ts'
import type { Clock } from '../lib/clock.ts'
import type { Read } from '../lib/read.ts'
import { OAuthError, type Reason } from '../oauth/errors.ts'
import type { Resource } from '../resource/resource.ts'
import type { ResourceStore } from '../resource/resource-store.ts'
import type { RegistryHead, RegistryStore } from './registry-store.ts'

/** How long a request may try to decide on a registry that keeps moving. */
const decideMilliseconds = 1_000
// However late it is: a process that was paused comes back with its time gone and a view that is old, and one look at the
// key ring may make six changes.
const leastAttempts = 8

const clientsInMemory = 20_000
const resourcesInMemory = 2_000

type Store = RegistryStore & ClientStore & ResourceStore & KeyStore

interface Caches {
  readonly clients: LRUCache<string, Read<Client>>
  readonly resources: LRUCache<string, Read<Resource>>
}

/** Thrown when a view turns out to be old. Only `decide` and `decideNow` catch it. */
class RegistryMoved extends Error {
  constructor() {
    super('the registry moved')
    this.name = 'RegistryMoved'
  }
}

/** The registry at one sequence. */
export class RegistryView implements ClientLookup {
  readonly #store: Store
  readonly #caches: Caches
  readonly #head: RegistryHead
  readonly ring: KeyRing

  constructor(store: Store, caches: Caches, head: RegistryHead, ring: KeyRing) {
    this.#store = store
    this.#caches = caches
    this.#head = head
    this.ring = ring
  }

  get sequence(): number {
    return this.#head.sequence
  }

  get issuer(): string | undefined {
    return this.#head.issuer
  }

  get importedCost(): ArgonCost | undefined {
    return this.#head.importedCost
  }

  /** Only tokens and refresh families of after this moment are alive; 0 when there is no such moment. */
  get tokensAfter(): number {
    return this.#head.tokensAfter ?? 0
  }

  async findClient(clientId: string): Promise<{ client: Client | undefined; cached: boolean }> {
    const known = this.#caches.clients.get(clientId)
    if (known?.sequence === this.sequence) return { client: known.value, cached: true }
    const read = await this.#store.findClient(clientId)
    return { client: this.#keep(read, this.#caches.clients, clientId), cached: false }
  }

  async probe(): Promise<void> {
    // No client has the empty id.
    await this.#store.findClient('')
  }

  async findResource(uri: string): Promise<Resource | undefined> {
    const known = this.#caches.resources.get(uri)
    if (known?.sequence === this.sequence) return known.value
    return this.#keep(await this.#store.findResource(uri), this.#caches.resources, uri)
  }

  // What does not exist is not kept: strangers could fill the cache with it.
  #keep<T extends object>(read: Read<T | undefined>, cache: LRUCache<string, Read<T>>, key: string): T | undefined {
    if (read.sequence !== this.sequence) throw new RegistryMoved()
    if (read.value !== undefined) cache.set(key, { sequence: read.sequence, value: read.value })
    return read.value
  }
}

export class Registry {
  readonly #store: Store
  readonly #opener: KeyRingOpener
  readonly #timing: RememberedTiming
  readonly #clock: Clock
  readonly #caches: Caches = {
    clients: new LRUCache({ max: clientsInMemory }),
    resources: new LRUCache({ max: resourcesInMemory }),
  }
  #view: RegistryView | undefined
  /** The newest that there was; decides nothing by itself. */
  #newest: RegistryView | undefined
  #loading: Promise<RegistryView> | undefined

  /** `timing`: what this process signs and publishes with. */
  constructor(store: Store, opener: KeyRingOpener, timing: RememberedTiming, clock: Clock) {
    this.#store = store
    this.#opener = opener
    this.#timing = timing
    this.#clock = clock
  }

  /** The ring of the last view, for those who only look. */
  get lastRing(): KeyRing | undefined {
    return this.#newest?.ring
  }

  /** A view; perhaps an old one, which is what the fence is for. @throws StoreUnavailable, KeyMaterialError */
  async view(): Promise<RegistryView> {
    return this.#view ?? this.#load()
  }

  /** The view at a sequence, when it is the one in memory. */
  viewAt(sequence: number): RegistryView | undefined {
    return this.#view?.sequence === sequence ? this.#view : undefined
  }

  /**
   * Makes a decision on a view that is current when the decision takes effect. `attempt` returns `undefined` when the
   * fence that it passed had moved; what it throws counts only if the registry did not move meanwhile.
   *
   * @throws OAuthError what `attempt` refused, or `registry_moving` after a second of trying, and at least eight attempts
   * @throws StoreUnavailable
   */
  async decide<T>(attempt: (view: RegistryView) => Promise<T | undefined>): Promise<T> {
    return this.#persist(async () => {
      const view = await this.view()
      const outcome = await this.#attemptOn(view, attempt)
      if (outcome === undefined && this.#view === view) this.#view = undefined
      return outcome
    })
  }

  /**
   * Makes a decision that no commit follows, on a view that is current when it is asked for. The registry may move while it
   * is made: then the answer is that of the moment when it was asked.
   *
   * @throws OAuthError what `attempt` refused, or `registry_moving` as `decide` does
   * @throws StoreUnavailable, KeyMaterialError
   */
  async decideNow<T>(attempt: (view: RegistryView) => Promise<T>): Promise<T> {
    const { outcome } = await this.#persist(async () => {
      const view = await this.current()
      try {
        return { outcome: await attempt(view) }
      } catch (error) {
        if (error instanceof RegistryMoved) return undefined
        throw error
      }
    })
    return outcome
  }

  async #persist<T>(attempt: () => Promise<T | undefined>): Promise<T> {
    const deadline = this.#clock.monotonicMilliseconds() + decideMilliseconds
    for (let made = 0; made < leastAttempts || this.#clock.monotonicMilliseconds() < deadline; made += 1) {
      const outcome = await attempt()
      if (outcome !== undefined) return outcome
    }
    throw new OAuthError('registry_moving')
  }

  /** The view as of now, for those who only look. @throws StoreUnavailable, KeyMaterialError */
  async current(): Promise<RegistryView> {
    // A load that is under way may have begun, and the process been paused, before what the caller must know of.
    await this.#loading?.catch(() => undefined)
    const last = this.#view
    if (last !== undefined && (await this.#isCurrent(last))) return last
    return this.#load()
  }

  /**
   * The view as of now, or the last one when the store cannot tell: for what may go on without a store.
   *
   * @throws only when there never was one
   */
  async currentOrLast(): Promise<{ readonly view: RegistryView; readonly isCurrent: boolean }> {
    // Not `#view`, which a decision drops as soon as it has found it old.
    const last = this.#newest
    try {
      return { view: await this.current(), isCurrent: true }
    } catch (error) {
      if (last === undefined) throw error
      return { view: last, isCurrent: false }
    }
  }

  async #attemptOn<T>(
    view: RegistryView,
    attempt: (view: RegistryView) => Promise<T | undefined>,
  ): Promise<T | undefined> {
    try {
      return await attempt(view)
    } catch (error) {
      if (error instanceof RegistryMoved) return undefined
      if (isRefusal(error) && !(await this.#isCurrent(view))) return undefined
      throw error
    }
  }

  async #isCurrent(view: RegistryView): Promise<boolean> {
    return (await this.#store.readRegistrySequence()) === view.sequence
  }

  // One load serves all who wait for it. Nobody may use a load that began before he asked, unless the fence follows.
  #load(): Promise<RegistryView> {
    this.#loading ??= this.#read().finally(() => {
      this.#loading = undefined
    })
    return this.#loading
  }

  async #read(): Promise<RegistryView> {
    const [head, material] = await this.#readMaterial()
    const view = new RegistryView(this.#store, this.#caches, head, await this.#opener.open(material))
    this.#view = view
    this.#newest = view
    return view
  }

  // No view lets a key sign, or be published, that does not remember how long the tokens and copies of this process live:
  // another process, with shorter settings, may be the one that retires it.
  async #readMaterial(): Promise<readonly [RegistryHead, KeyMaterial]> {
    const head = await this.#store.readRegistryHead()
    const material = await this.#store.readKeys()
    if (material === undefined) throw new KeyMaterialError('the database has no keys')
    if (remembers(material, this.#timing)) return [head, material]
    await this.#store.rememberTiming(this.#timing, 'server')
    return this.#readMaterial()
  }
}

function remembers({ signingKeys }: KeyMaterial, timing: RememberedTiming): boolean {
  return signingKeys.every(
    (key) => key.maxTtlSeconds >= timing.accessTokenMaxTtlSeconds && key.maxAgeSeconds >= timing.jwksMaxAgeSeconds,
  )
}

const busy: readonly Reason[] = ['secret_check_busy', 'assertion_keys_busy']

// Our own faults are answered as they are; what the registry decided is decided again when it moved.
function isRefusal(error: unknown): boolean {
  return (error instanceof OAuthError && !busy.includes(error.reason)) || error instanceof KeyMaterialError
}
