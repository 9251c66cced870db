/**
 * Counts of limits that several processes share: they lie with the supervisor, and a worker asks. So a limit is the same
 * however many workers there are, and outlives each of them.
 *
 *   a failure, or a guess at an imported secret      one question each, answered before the caller is
 *   a request of a client whose requests are limited    likewise
 *   a success                                        told, with others of the same few milliseconds: nobody waits for it
 *
 * Where the supervisor does not answer, the worker counts by itself for a second, and tries again: a limit that is several
 * times as high for a moment is better than a door that is shut, or one that is open.
 */
import type { Channel, Subjects } from '../lib/channel.ts'
import type { Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import type { FailureCounter, FailureKeys, PassedLimit } from './failure-counts.ts'
import type { LimitCounts, RequestCounter } from './limit-counts.ts'
import type { Count } from './window-counters.ts'

type Endpoint = 'token' | 'revoke' | 'introspect'

interface RequestKey {
  readonly endpoint: Endpoint
  readonly clientId: string
}

/** What a worker asks about limits. `null`: none is passed. */
export interface CountQuestions extends Subjects {
  readonly 'failures.judge': readonly [FailureKeys, PassedLimit | null]
  readonly 'failures.count': readonly [FailureKeys, PassedLimit | null]
  readonly 'failures.takeBack': readonly [readonly FailureKeys[], null]
  readonly 'requests.add': readonly [RequestKey, Pick<Count, 'used' | 'resetSeconds'> | null]
  readonly 'requests.takeBack': readonly [RequestKey, null]
}

const answerMilliseconds = 250
const aloneMilliseconds = 1_000
const gatherMilliseconds = 10
const maxGathered = 256

/** Answers the questions of one worker from the counts of all. */
export function serveCounts(channel: Pick<Channel<CountQuestions, Subjects>, 'on'>, counts: LimitCounts): void {
  const { failures, requests } = counts
  channel.on('failures.judge', async (keys) => (await failures.judge(keys)) ?? null)
  channel.on('failures.count', async (keys) => (await failures.count(keys)) ?? null)
  channel.on('failures.takeBack', async (all) => {
    for (const keys of all) await failures.takeBack(keys)
    return null
  })
  channel.on('requests.add', async ({ endpoint, clientId }) => (await requests[endpoint]?.add(clientId)) ?? null)
  channel.on('requests.takeBack', async ({ endpoint, clientId }) => {
    await requests[endpoint]?.takeBack(clientId)
    return null
  })
}

export interface SharedCountsParts {
  readonly channel: Pick<Channel<Subjects, CountQuestions>, 'ask' | 'tell'>
  /** Counts of this worker alone, for when nobody answers. */
  readonly own: LimitCounts
  readonly clock: Clock
  readonly log: Log
}

/** The counts of all workers, as one of them asks for them. */
export function createSharedCounts(parts: SharedCountsParts): LimitCounts {
  const line = new Line(parts)
  const { own } = parts
  const requests = (endpoint: Endpoint): RequestCounter | undefined => {
    const counter = own.requests[endpoint]
    return counter === undefined ? undefined : new SharedRequests(line, endpoint, counter)
  }
  return {
    failures: new SharedFailures(line, own.failures),
    requests: { token: requests('token'), revoke: requests('revoke'), introspect: requests('introspect') },
  }
}

/** The way to the supervisor, and whether it is worth trying. */
class Line {
  readonly #parts: SharedCountsParts
  #aloneUntil = Number.NEGATIVE_INFINITY
  #isAlone = false

  constructor(parts: SharedCountsParts) {
    this.#parts = parts
  }

  get tell(): SharedCountsParts['channel']['tell'] {
    return this.#parts.channel.tell.bind(this.#parts.channel)
  }

  async ask<K extends keyof CountQuestions & string, T>(
    subject: K,
    body: CountQuestions[K][0],
    alone: () => Promise<T>,
  ): Promise<CountQuestions[K][1] | T> {
    const { channel, clock, log } = this.#parts
    if (clock.monotonicMilliseconds() < this.#aloneUntil) return alone()
    try {
      const answer = await channel.ask(subject, body, answerMilliseconds)
      if (this.#isAlone) log.info({}, 'limits are counted with the other workers again')
      this.#isAlone = false
      return answer
    } catch {
      this.#aloneUntil = clock.monotonicMilliseconds() + aloneMilliseconds
      if (!this.#isAlone) log.warn({}, 'limits are counted by this worker alone: the supervisor does not answer')
      this.#isAlone = true
      return alone()
    }
  }
}

class SharedFailures implements FailureCounter {
  readonly #line: Line
  readonly #own: FailureCounter
  #gathered: FailureKeys[] = []
  #timer: NodeJS.Timeout | undefined

  constructor(line: Line, own: FailureCounter) {
    this.#line = line
    this.#own = own
  }

  async judge(keys: FailureKeys): Promise<PassedLimit | undefined> {
    return (await this.#line.ask('failures.judge', keys, () => this.#own.judge(keys))) ?? undefined
  }

  async count(keys: FailureKeys): Promise<PassedLimit | undefined> {
    return (await this.#line.ask('failures.count', keys, () => this.#own.count(keys))) ?? undefined
  }

  // Every token that is issued comes by here.
  async takeBack(keys: FailureKeys): Promise<void> {
    if (keys.client === undefined) return
    await this.#own.takeBack(keys)
    this.#gathered.push(keys)
    if (this.#gathered.length >= maxGathered) this.#flush()
    else this.#timer ??= setTimeout(() => this.#flush(), gatherMilliseconds)
  }

  #flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#line.tell('failures.takeBack', this.#gathered.splice(0))
  }
}

class SharedRequests implements RequestCounter {
  readonly limit: number
  readonly #line: Line
  readonly #endpoint: Endpoint
  readonly #own: RequestCounter

  constructor(line: Line, endpoint: Endpoint, own: RequestCounter) {
    this.limit = own.limit
    this.#line = line
    this.#endpoint = endpoint
    this.#own = own
  }

  async add(clientId: string): Promise<Pick<Count, 'used' | 'resetSeconds'>> {
    const key = { endpoint: this.#endpoint, clientId }
    return (await this.#line.ask('requests.add', key, () => this.#own.add(clientId))) ?? (await this.#own.add(clientId))
  }

  async takeBack(clientId: string): Promise<void> {
    this.#line.tell('requests.takeBack', { endpoint: this.#endpoint, clientId })
  }
}
