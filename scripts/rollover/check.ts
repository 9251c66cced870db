/**
 * Holds a history to the rules of key rollover: it is replayed in the order of the commits, and each commit is compared
 * with the state that the ones before it have left. Nothing here is shared with the code that it judges.
 */
import type { Commit, History, KeyTimes, Snapshot } from './history.ts'
import type { Rules } from './plan.ts'

type State = Exclude<Commit['kind'], 'token' | 'activated'> | 'active'

interface Life {
  readonly times: KeyTimes
  state: State
  readonly isFirst: boolean
  stagedAt: number | undefined
  /** When its last token dies. */
  lastExpiry: number
}

/** What breaks the rules, a sentence each. */
export function checkHistory(history: History, rules: Rules): readonly string[] {
  return new Replay(history, rules).run()
}

class Replay {
  readonly #history: History
  readonly #rules: Rules
  readonly #times: ReadonlyMap<string, KeyTimes>
  readonly #lives = new Map<string, Life>()
  readonly #recorded = new Map<string, string>()
  /** The published keys after each transition, with the position of its last commit. */
  readonly #published: { readonly position: number; readonly kids: string }[] = []
  readonly #found: string[] = []

  constructor(history: History, rules: Rules) {
    this.#history = history
    this.#rules = rules
    this.#times = new Map(history.keys.map((key) => [key.kid, key]))
  }

  run(): readonly string[] {
    const { commits, snapshots, received } = this.#history
    for (const [i, commit] of commits.entries()) {
      if (commit.kind === 'token') this.#replayToken(commit)
      else this.#replayChange(commit)
      if (commit.kind !== 'token' && isLastOfTransition(commit, commits[i + 1])) this.#endTransition(commit)
    }
    for (const snapshot of snapshots) this.#checkSnapshot(snapshot)
    for (const [jti, kid] of received) {
      if (this.#recorded.get(jti) !== kid)
        this.#found.push(`token ${jti} was received, signed by ${kid}, and is not recorded so`)
    }
    return this.#found
  }

  #replayToken({ kid, at, state, token }: Commit): void {
    const life = this.#lives.get(kid)
    if (token === undefined || life === undefined) {
      this.#found.push(`a token was signed by ${kid}, which is no key of ours`)
      return
    }
    this.#recorded.set(token.jti, kid)
    life.lastExpiry = Math.max(life.lastExpiry, token.expiresAt)
    if (life.state !== 'active' || state !== 'active') {
      this.#found.push(
        `token ${token.jti} was committed while its key ${kid} was ${life.state}, and ${state} in the database`,
      )
    }
    const early = life.times.publishedAt + this.#rules.leadSeconds * 1000 - at
    if (!life.isFirst && early > 0) {
      this.#found.push(
        `token ${token.jti} was signed ${seconds(early)} before its key ${kid} had been published for its lead`,
      )
    }
  }

  #replayChange(commit: Commit): void {
    const { kind, kid, at } = commit
    const life = this.#lives.get(kid)
    switch (kind) {
      case 'staged':
        if (life !== undefined) this.#found.push(`key ${kid} was staged again`)
        else this.#meet(kid, 'staged', at)
        return
      case 'activated':
        if (life === undefined) this.#meet(kid, 'active', undefined)
        else this.#activate(life, at)
        return
      case 'retiring':
        this.#move(life, kid, 'active', 'retiring')
        return
      case 'retired':
        this.#move(life, kid, 'retiring', 'retired')
        this.#checkRemoval(kid, at)
        return
      default:
        this.#found.push(`key ${kid} was ${kind}, and nobody asked for that`)
    }
  }

  // A key that signs without having been staged is the first of its algorithm, or a fault.
  #meet(kid: string, state: State, stagedAt: number | undefined): void {
    const times = this.#times.get(kid)
    if (times === undefined) {
      this.#found.push(`key ${kid} is in the trail and not in the ring`)
      return
    }
    const isFirst = state === 'active'
    if (isFirst && [...this.#lives.values()].some((life) => life.isFirst && life.times.alg === times.alg)) {
      this.#found.push(`key ${kid} was activated without having been staged`)
    }
    this.#lives.set(kid, { times, state, isFirst, stagedAt, lastExpiry: 0 })
  }

  #activate(life: Life, at: number): void {
    const { times, stagedAt = at } = life
    this.#move(life, times.kid, 'staged', 'active')
    const { leadSeconds, maxAgeSeconds, intervalSeconds } = this.#rules
    const published = (times.activatedAt ?? 0) - times.publishedAt
    if (published < leadSeconds * 1000) {
      this.#found.push(
        `key ${times.kid} was published for ${seconds(published)} before it signed, and its lead is ${leadSeconds} s`,
      )
    }
    // The trail has its own times: a key whose `published_at` is dated back would pass above.
    if (at - stagedAt < maxAgeSeconds * 1000) {
      this.#found.push(
        `key ${times.kid} signed ${seconds(at - stagedAt)} after the trail has it staged, within the max-age of the JWKS`,
      )
    }
    const before = this.#previousActivation(times)
    if (before !== undefined && (times.activatedAt ?? 0) - before < intervalSeconds * 1000) {
      this.#found.push(`key ${times.kid} took over ${seconds((times.activatedAt ?? 0) - before)} after the one before`)
    }
  }

  #previousActivation({ alg, kid }: KeyTimes): number | undefined {
    const earlier = [...this.#lives.values()]
      .filter(({ times }) => times.alg === alg && times.kid !== kid)
      .flatMap(({ times, state }) => (state === 'staged' || times.activatedAt === null ? [] : [times.activatedAt]))
    return earlier.length === 0 ? undefined : Math.max(...earlier)
  }

  #move(life: Life | undefined, kid: string, from: State, to: State): void {
    if (life?.state !== from)
      this.#found.push(`key ${kid} became ${to} and was ${life?.state ?? 'unknown'}, not ${from}`)
    if (life !== undefined) life.state = to
  }

  #checkRemoval(kid: string, at: number): void {
    const early = (this.#lives.get(kid)?.lastExpiry ?? 0) + this.#rules.skewSeconds * 1000 - at
    if (early > 0)
      this.#found.push(`key ${kid} left the JWKS ${seconds(early)} before its last token was dead by every clock`)
  }

  #endTransition({ position }: Commit): void {
    const lives = [...this.#lives.values()]
    for (const alg of new Set(lives.map(({ times }) => times.alg))) {
      for (const state of ['active', 'staged'] as const) {
        const count = lives.filter((life) => life.times.alg === alg && life.state === state).length
        if (count !== 1) this.#found.push(`${count} ${alg} keys were ${state} after commit ${position}`)
      }
    }
    this.#published.push({ position, kids: joined(lives.filter(isPublished).map(({ times }) => times.kid)) })
  }

  // The server may have looked at any moment between the two that the recorder knows.
  #checkSnapshot({ from, to, kids, maxAgeSeconds }: Snapshot): void {
    const first = this.#published.findLastIndex(({ position }) => position <= from)
    const possible = this.#published.filter(({ position }, i) => i >= first && position <= to)
    if (!possible.some((each) => each.kids === joined(kids))) {
      this.#found.push(`a JWKS asked for after commit ${from} had other keys than those published until commit ${to}`)
    }
    if (maxAgeSeconds > this.#rules.maxAgeSeconds) this.#found.push(`a JWKS might be kept for ${maxAgeSeconds} s`)
  }
}

function isLastOfTransition(commit: Commit, next: Commit | undefined): boolean {
  return next === undefined || next.kind === 'token' || next.sequence !== commit.sequence
}

function isPublished({ state }: Life): boolean {
  return state === 'staged' || state === 'active' || state === 'retiring'
}

function joined(kids: readonly string[]): string {
  return kids.toSorted().join()
}

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(1)} s`
}
