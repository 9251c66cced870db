/**
 * A world for a key ring to live in: true time, a wall clock that may be wrong, a machine that sleeps, processes with
 * settings of their own that come and die on one store, and verifiers that cache every JWKS for as long as they may.
 * Store and scheduler are the real ones, in memory. The world keeps books of what really happened, in true time, and
 * fails as soon as a promise is broken.
 */
import Database from 'better-sqlite3'
import type { KeyStore, RememberedTiming } from '../../src/key/key-store.ts'
import { KeyRing } from '../../src/key/ring.ts'
import { RingClock } from '../../src/key/ring-clock.ts'
import type { RootKey } from '../../src/key/root-key.ts'
import { keepLeftMilliseconds, leadLeftMilliseconds, rotationDueAt } from '../../src/key/rotate.ts'
import { KeyScheduler } from '../../src/key/scheduler.ts'
import { type SigningAlg, signingAlgs } from '../../src/key/signer.ts'
import { isPublished, keyStates, type NewSigningKey, type SigningKeyFacts } from '../../src/key/signing-key.ts'
import { type KeyTiming, keepSecondsOf, leadSecondsOf } from '../../src/key/timing.ts'
import { silentLog } from '../../src/lib/log.ts'
import { ActQueue } from '../../src/store/sqlite/act-queue.ts'
import { createConnection } from '../../src/store/sqlite/connection.ts'
import { createKeyStore } from '../../src/store/sqlite/key-store.ts'
import { migrate } from '../../src/store/sqlite/migrate.ts'

let made = 0

/** A key that no signature can be made with, for tests that make many. */
export function makeToyKey(alg: SigningAlg = 'ES256', rootVersion = 1): NewSigningKey {
  made += 1
  const kid = `toy-${made}`
  const published = { kid, use: 'sig' } as const
  return {
    kid,
    alg,
    publicJwk:
      alg === 'ES256'
        ? { ...published, alg, kty: 'EC', crv: 'P-256', x: 'x', y: 'y' }
        : { ...published, alg, kty: 'RSA', n: 'n', e: 'AQAB' },
    encryptedPrivateKey: Buffer.from(`private half of ${kid}`),
    rootVersion,
  }
}

const skewSeconds = 60
const toyRoot: RootKey = { version: 1, bytes: new Uint8Array(32) }

/** What one process is set to. */
export interface ProcessSettings {
  readonly jwksMaxAgeSeconds: number
  readonly accessTokenMaxTtlSeconds: number
  /** By how much the lead is longer than it must be, and the interval longer than the lead. */
  readonly moreLeadSeconds: number
  readonly moreIntervalSeconds: number
}

export function toTiming(settings: ProcessSettings): KeyTiming {
  const { jwksMaxAgeSeconds, accessTokenMaxTtlSeconds, moreLeadSeconds, moreIntervalSeconds } = settings
  const leadSeconds = jwksMaxAgeSeconds + skewSeconds + 2 + moreLeadSeconds
  const rotationIntervalSeconds = leadSeconds + moreIntervalSeconds
  return {
    leadSeconds,
    rotationIntervalSeconds,
    jwksMaxAgeSeconds,
    accessTokenMaxTtlSeconds,
    clockSkewSeconds: skewSeconds,
  }
}

interface Process {
  readonly timing: KeyTiming
  readonly clock: RingClock
  readonly scheduler: KeyScheduler
}

/** What really happened to a key. `…Up` is true running time: how long at least one process was up and awake. */
interface Book {
  rank: number
  readonly publishedUp: number
  activatedUp?: number
  stoppedUp?: number
  /** Tokens of it: when they die on the wall clock, and how far that had been set back in all when they were made. */
  readonly tokens: { readonly exp: number; readonly setBack: number }[]
}

export class RingWorld {
  readonly store: KeyStore
  /** Which process looks first. */
  firstSlot = 0
  readonly #sqlite = new Database(':memory:')
  readonly #readSequence: () => number
  readonly #slots: (Process | undefined)[] = [undefined, undefined]
  readonly #books = new Map<string, Book>()
  #copies: { readonly until: number; readonly kids: ReadonlySet<string> }[] = []
  #now = Date.UTC(2026, 0, 2)
  #wallError = 0
  #awake = 0
  #up = 0
  #setBack = 0

  private constructor() {
    migrate(this.#sqlite, 0)
    const clock = { nowMilliseconds: () => this.wall, monotonicMilliseconds: () => this.#awake }
    const connection = createConnection(this.#sqlite, new ActQueue(this.#sqlite, clock, {}), clock)
    this.#readSequence = connection.readSequence
    this.store = createKeyStore(connection)
  }

  /** A world in which one process has just started for the first time. */
  static async create(settings: ProcessSettings): Promise<RingWorld> {
    const world = new RingWorld()
    const timing = toTiming(settings)
    const published = {
      createdAt: world.wall,
      publishedAt: world.wall,
      publishedRunning: 0,
      cachedSeconds: 0,
      maxTtlSeconds: timing.accessTokenMaxTtlSeconds,
      maxAgeSeconds: timing.jwksMaxAgeSeconds,
    }
    const signingKeys = signingAlgs.flatMap((alg) => [
      { ...makeToyKey(alg), ...published, state: 'active' as const, activatedAt: world.wall },
      { ...makeToyKey(alg), ...published, state: 'staged' as const },
    ])
    await world.store.claimKeys(
      { storeId: 'world', rootKeys: [{ version: 1, wrapped: new Uint8Array(1) }], signingKeys },
      'server',
    )
    await world.#audit(timing)
    await world.start(0, settings)
    return world
  }

  close(): void {
    this.#sqlite.close()
  }

  get wall(): number {
    return this.#now + this.#wallError
  }

  /** True running time. */
  get up(): number {
    return this.#up
  }

  /** Time goes by; the processes look at the ring when it has. */
  async run(milliseconds: number): Promise<void> {
    this.#pass(milliseconds)
    await this.look()
  }

  #pass(milliseconds: number): void {
    this.#now += milliseconds
    this.#awake += milliseconds
    if (this.#slots.some((process) => process !== undefined)) this.#up += milliseconds
  }

  /** The machine sleeps: its wall clock goes on, and nothing else. */
  async sleep(milliseconds: number): Promise<void> {
    this.#now += milliseconds
    await this.look()
  }

  async stepWall(milliseconds: number): Promise<void> {
    this.#wallError += milliseconds
    if (milliseconds < 0) this.#setBack -= milliseconds
    await this.look()
  }

  /** Runs until the next thing can be due by one process's reckoning, give or take a moment. */
  async runToNext(slot: number, giveOrTake: number): Promise<void> {
    const process = this.#slots[slot]
    if (process === undefined) return
    const moment = process.clock.moment()
    const waits = (await this.published()).map((key) => {
      if (key.state === 'staged') return leadLeftMilliseconds(key, moment, process.timing)
      if (key.state === 'retiring') return keepLeftMilliseconds(key, moment, process.timing)
      return rotationDueAt(key, process.timing) - moment.now
    })
    const next = Math.min(...waits.filter((wait) => wait > 0))
    if (Number.isFinite(next)) await this.run(Math.max(0, next + giveOrTake))
  }

  /** A process starts in a slot, in the place of what was there. */
  async start(slot: number, settings: ProcessSettings, { makingTakes = 0 } = {}): Promise<void> {
    const timing = toTiming(settings)
    const ring = await this.#view(timing)
    const clock = new RingClock(this.#machineClock(), ring.mark)
    const scheduler = new KeyScheduler({
      store: this.store,
      ring,
      clock,
      timing,
      log: silentLog,
      readRing: this.#createReader(timing),
      makeKey: async (_, __, alg) => {
        this.#pass(makingTakes)
        return makeToyKey(alg)
      },
    })
    this.#slots[slot] = { timing, clock, scheduler }
    await this.look()
  }

  /** A process ends; killed, it loses what it has not stored. */
  async stop(slot: number, how: 'orderly' | 'killed'): Promise<void> {
    if (how === 'orderly') await this.#slots[slot]?.scheduler.save()
    this.#slots[slot] = undefined
  }

  async requestRotation(slot: number, alg: SigningAlg): Promise<void> {
    const process = this.#slots[slot]
    const active = (await this.published()).find((key) => key.alg === alg && key.state === 'active')
    if (process === undefined || active === undefined) return
    await this.store.requestRotation(active.kid, process.clock.moment(), 'cli:test')
    await this.look()
  }

  async resetCalendar(): Promise<void> {
    await this.store.resetCalendar(this.wall, 'cli:test')
    await this.look()
  }

  async published(): Promise<readonly SigningKeyFacts[]> {
    return (await this.store.listKeys()).filter((key) => isPublished(key.state))
  }

  /** Each process that is up publishes, signs, does what is due, and publishes and signs again. */
  async look(): Promise<void> {
    for (const process of this.firstSlot === 0 ? this.#slots : this.#slots.toReversed()) {
      if (process === undefined) continue
      await this.#use(process)
      await process.scheduler.tick()
      await this.#audit(process.timing)
      await this.#use(process)
      await this.#checkWhole()
    }
    // In truth each looks again within a second: nobody learns of a change by the next step of the world alone.
    for (const process of this.#slots) await process?.scheduler.tick()
    for (const process of this.#slots) if (process !== undefined) await this.#audit(process.timing)
  }

  async #use({ timing, clock }: Process): Promise<void> {
    const { keys } = await this.#view(timing)
    this.#copies = this.#copies.filter((copy) => copy.until > this.#now)
    for (const key of keys.filter(({ state }) => state === 'active')) {
      const stale = this.#copies.find((copy) => !copy.kids.has(key.kid))
      if (stale !== undefined) {
        fail(`${key.kid} signs while a copy of the JWKS without it may be used for ${stale.until - this.#now} ms more`)
      }
      const exp = this.wall + timing.accessTokenMaxTtlSeconds * 1000
      this.#books.get(key.kid)?.tokens.push({ exp, setBack: this.#setBack })
    }
    const until = this.#now + timing.jwksMaxAgeSeconds * 1000
    this.#copies.push({ until, kids: new Set(keys.map(({ kid }) => kid)) })
    if (clock.moment().running > this.#up) fail('running time is ahead of what really ran')
  }

  // What the last act did to the keys, held against the books.
  async #audit(timing: KeyTiming): Promise<void> {
    for (const key of await this.store.listKeys()) {
      const rank = keyStates.indexOf(key.state)
      const book = this.#books.get(key.kid) ?? { rank: 0, publishedUp: this.#up, tokens: [] }
      const isFirst = !this.#books.has(key.kid) && key.state === 'active'
      this.#books.set(key.kid, book)
      if (rank < book.rank) fail(`${key.kid} went back to ${key.state}`)
      if (rank === book.rank) continue
      book.rank = rank
      if (key.state === 'active') this.#checkActivation(key, book, timing, isFirst)
      if (key.state === 'retiring') book.stoppedUp = this.#up
      if (key.state === 'retired') this.#checkRemoval(key, book, timing)
    }
  }

  #checkActivation(key: SigningKeyFacts, book: Book, timing: KeyTiming, isFirst: boolean): void {
    book.activatedUp = this.#up
    const waited = this.#up - book.publishedUp
    const needed = leadSecondsOf(key, timing) * 1000
    if (!isFirst && waited < needed)
      fail(`${key.kid} signs ${needed - waited} ms of running time before its lead is over`)
  }

  #checkRemoval(key: SigningKeyFacts, book: Book, timing: KeyTiming): void {
    const waited = this.#up - (book.stoppedUp ?? Number.NaN)
    const needed = keepSecondsOf(key, timing) * 1000
    if (!(waited >= needed)) fail(`${key.kid} left ${needed - waited} ms of running time early`)
    const orphan = book.tokens.find(
      ({ exp, setBack }) => this.#setBack - setBack <= skewSeconds * 1000 && exp > this.wall,
    )
    if (orphan !== undefined) fail(`${key.kid} left ${orphan.exp - this.wall} ms before a token of it was dead`)
  }

  async #checkWhole(): Promise<void> {
    const states = (await this.published()).map((key) => `${key.alg} ${key.state}`)
    for (const alg of signingAlgs) {
      for (const state of ['active', 'staged']) {
        const count = states.filter((each) => each === `${alg} ${state}`).length
        if (count !== 1) fail(`${count} ${alg} keys are ${state}`)
      }
    }
  }

  #machineClock() {
    return { nowMilliseconds: () => this.wall, monotonicMilliseconds: () => this.#awake }
  }

  // As the registry does it: a view is kept until the sequence moves, and none is used before its keys remember.
  #createReader(timing: RememberedTiming): () => Promise<KeyRing> {
    let last: { readonly sequence: number; readonly ring: KeyRing } | undefined
    return async () => {
      if (last?.sequence !== this.#readSequence()) {
        const ring = await this.#view(timing)
        last = { sequence: this.#readSequence(), ring }
      }
      return last.ring
    }
  }

  async #view(timing: RememberedTiming): Promise<KeyRing> {
    await this.store.rememberTiming(timing, 'server')
    const material = await this.store.readKeys()
    if (material === undefined) throw new Error('the world has no keys')
    const { storeId, ringMark, signingKeys } = material
    const keys = signingKeys.map((key) => ({
      ...key,
      signer: { kid: key.kid, alg: key.alg, sign: async () => new Uint8Array() },
    }))
    return new KeyRing(keys, { mark: ringMark, root: { storeId, root: toyRoot } })
  }
}

function fail(what: string): never {
  throw new Error(`a promise is broken: ${what}`)
}
