/**
 * Public keys that others publish, by the URL of their JWK set. Which keys count is the publisher's word alone, as of lately:
 *
 *   fresh    for as long as the source said (`max-age`), at least 1 minute, at most 1 hour, 5 minutes when it said nothing:
 *            used without asking
 *   stale    asked for again before it is used. A new set takes the place of the old one whole: a key that is no longer in
 *            it is no longer believed
 *   the source does not answer, or not with a set: the last good set, until it is 24 hours old; then no key at all. Whoever
 *            can keep the source from answering can keep a withdrawn key alive for that long, and no longer. The first
 *            request that finds it so waits for the answer that does not come; those of later try beside their work
 *
 * A key that is not in a fresh set may be new, so the set is asked for again; but strangers can name keys that do not exist,
 * so this happens once in 30 s a URL, whoever asks. All who want a URL at the same time share one request.
 *
 * @see RFC 7517 section 5, RFC 9111 section 5.2.2.1
 */
import { LRUCache } from 'lru-cache'
import type { Clock } from '../lib/clock.ts'
import { parsePlainObject } from '../oauth/jwt.ts'
import type { DocumentFetcher } from './document-fetcher.ts'
import { OutboundError, type OutboundFailure } from './outbound-error.ts'

const minFreshSeconds = 60
const usualFreshSeconds = 300
const maxFreshSeconds = 3_600
const maxAgeSeconds = 24 * 3_600
const coolDownSeconds = 30
// A source of which there is nothing yet is asked again sooner: it, or we, may just have started.
const retrySeconds = 5
/** Most keys of a set: more is no client's rollover, and each of them costs work. */
export const maxKeysPerSet = 50
/** Most URLs whose sets are kept. */
export const maxSources = 1_000

/** What a set is made of: a key, and what it is called by. */
export interface NamedKey {
  readonly name: string
  /** Which key it is, whatever it is called: one key may stand in a set more than once, with several certificates. */
  readonly identity?: string
}

/** What became of one request for a set. */
export type FetchOutcome = 'fetched' | OutboundFailure

export interface RemoteKeysParts<K extends NamedKey> {
  readonly fetcher: Pick<DocumentFetcher, 'fetch'>
  readonly clock: Clock
  /** A usable public key out of a member of a set; `undefined` for any other member. */
  parseKey(member: unknown): K | undefined
  /** Hears of each request that was made. */
  onFetch?(outcome: FetchOutcome, url: string): void
}

interface Moment {
  readonly wall: number
  readonly monotonic: number
}

interface KeySet<K> {
  readonly keys: readonly K[]
  readonly freshSeconds: number
  readonly fetchedAt: Moment
}

interface Source<K> {
  set?: KeySet<K>
  askedAt?: Moment
  failure?: OutboundFailure
  loading?: Promise<void> | undefined
}

export class RemoteKeys<K extends NamedKey> {
  readonly #parts: RemoteKeysParts<K>
  readonly #sources = new LRUCache<string, Source<K>>({ max: maxSources })

  constructor(parts: RemoteKeysParts<K>) {
    this.#parts = parts
  }

  /**
   * The keys at a URL that fit; none when its set has none such.
   *
   * @throws OutboundError when there is no set to look in
   */
  async find(url: string, fits: (key: K) => boolean): Promise<readonly K[]> {
    const source = this.#sourceOf(url)
    const known = this.#keysOf(source).filter(fits)
    if (known.length > 0 && this.#isFresh(source)) return known
    if (source.loading !== undefined || this.#mayAsk(source)) {
      const loaded = this.#load(url, source)
      // A source that was down is not waited for by those who can go on without it. A bug shows to those who cannot.
      if (known.length > 0 && source.failure !== undefined) loaded.catch(() => undefined)
      else await loaded
    }
    if (!this.#isUsable(source)) throw new OutboundError(source.failure ?? 'unreachable')
    return this.#keysOf(source).filter(fits)
  }

  #sourceOf(url: string): Source<K> {
    const source = this.#sources.get(url) ?? {}
    this.#sources.set(url, source)
    return source
  }

  #keysOf(source: Source<K>): readonly K[] {
    return this.#isUsable(source) ? (source.set?.keys ?? []) : []
  }

  #isUsable({ set }: Source<K>): boolean {
    return set !== undefined && this.#ageOf(set.fetchedAt) < maxAgeSeconds
  }

  #isFresh({ set }: Source<K>): boolean {
    return set !== undefined && this.#ageOf(set.fetchedAt) < set.freshSeconds
  }

  #mayAsk(source: Source<K>): boolean {
    if (source.askedAt === undefined) return true
    return this.#ageOf(source.askedAt) >= (this.#isUsable(source) ? coolDownSeconds : retrySeconds)
  }

  // One request serves all who wait for it. What became of it stands in the source.
  #load(url: string, source: Source<K>): Promise<void> {
    source.loading ??= this.#fetch(url, source).finally(() => {
      source.loading = undefined
    })
    return source.loading
  }

  async #fetch(url: string, source: Source<K>): Promise<void> {
    source.askedAt = this.#moment()
    try {
      const { text, cacheControl } = await this.#parts.fetcher.fetch(url)
      const keys = parseKeySet(text, (member) => this.#parts.parseKey(member))
      source.set = { keys, freshSeconds: freshSecondsOf(cacheControl), fetchedAt: this.#moment() }
      delete source.failure
      this.#parts.onFetch?.('fetched', url)
    } catch (error) {
      if (!(error instanceof OutboundError)) throw error
      source.failure = error.failure
      this.#parts.onFetch?.(error.failure, url)
    }
  }

  #moment(): Moment {
    const { clock } = this.#parts
    return { wall: clock.nowMilliseconds(), monotonic: clock.monotonicMilliseconds() }
  }

  // By whichever clock says more: one stands still while the machine sleeps, the other may be set back.
  #ageOf(then: Moment): number {
    const now = this.#moment()
    return Math.max(now.wall - then.wall, now.monotonic - then.monotonic) / 1000
  }
}

/**
 * The usable keys of a JWK set. Members that are no such key are passed over (RFC 7517 section 5); of keys that share a
 * name none is taken, for which of them is meant would be a guess; one key may be there several times.
 *
 * @throws OutboundError `malformed` when it is no JWK set, `too_large` when it has more than 50 members
 */
export function parseKeySet<K extends NamedKey>(
  text: string,
  parseKey: (member: unknown) => K | undefined,
): readonly K[] {
  const members = membersOf(text)
  if (members.length > maxKeysPerSet) throw new OutboundError('too_large')
  const keys = members.map(parseKey).filter((key) => key !== undefined)
  const byName = Map.groupBy(keys, ({ name }) => name)
  return keys.filter(({ name, identity }) => {
    const others = byName.get(name) ?? []
    return others.length === 1 || (identity !== undefined && others.every((other) => other.identity === identity))
  })
}

function membersOf(text: string): readonly unknown[] {
  const members = parsePlainObject(text)?.keys
  if (!Array.isArray(members)) throw new OutboundError('malformed')
  return members
}

function freshSecondsOf(cacheControl: string | undefined): number {
  if (/(?:^|,)[\t ]*no-(?:store|cache)[\t ]*(?:,|$)/i.test(cacheControl ?? '')) return minFreshSeconds
  const said = /(?:^|,)[\t ]*max-age="?(?<seconds>[0-9]{1,9})"?[\t ]*(?:,|$)/i.exec(cacheControl ?? '')?.groups?.seconds
  return Math.min(maxFreshSeconds, Math.max(minFreshSeconds, said === undefined ? usualFreshSeconds : Number(said)))
}
