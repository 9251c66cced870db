/**
 * Counts of limits that several workers share, as one of them asks for them:
 *
 *   a failure, or a guess at an imported secret         one question each, answered before the caller is
 *   a request of a client whose requests are limited    likewise
 *   a success                                           told, with others of the same few milliseconds: nobody waits for it
 */
import type { FailureCounter, FailureKeys, PassedLimit } from './failure-counts.ts'
import type { LimitCounts, RequestCounter } from './limit-counts.ts'
import type { CountedEndpoint, SharedLine } from './shared-line.ts'
import type { Count } from './window-counters.ts'

const gatherMilliseconds = 10
const maxGathered = 256

/** `own`: the counts of this worker, for when nobody answers. */
export function createSharedCounts(line: SharedLine, own: LimitCounts): LimitCounts {
  const requests = (endpoint: CountedEndpoint): RequestCounter | undefined => {
    const counter = own.requests[endpoint]
    return counter === undefined ? undefined : new SharedRequests(line, endpoint, counter)
  }
  return {
    failures: new SharedFailures(line, own.failures),
    requests: { token: requests('token'), revoke: requests('revoke'), introspect: requests('introspect') },
  }
}

class SharedFailures implements FailureCounter {
  readonly #line: SharedLine
  readonly #own: FailureCounter
  #gathered: FailureKeys[] = []
  #timer: NodeJS.Timeout | undefined

  constructor(line: SharedLine, own: FailureCounter) {
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
    this.#line.tell('failures.takeBack', this.#gathered)
    this.#gathered = []
  }
}

class SharedRequests implements RequestCounter {
  readonly limit: number
  readonly #line: SharedLine
  readonly #endpoint: CountedEndpoint
  readonly #own: RequestCounter

  constructor(line: SharedLine, endpoint: CountedEndpoint, own: RequestCounter) {
    this.limit = own.limit
    this.#line = line
    this.#endpoint = endpoint
    this.#own = own
  }

  async add(clientId: string): Promise<Pick<Count, 'used' | 'resetSeconds'>> {
    const key = { endpoint: this.#endpoint, clientId }
    const count = await this.#line.ask('requests.add', key, () => this.#own.add(clientId))
    return count ?? this.#own.add(clientId)
  }

  async takeBack(clientId: string): Promise<void> {
    this.#line.tell('requests.takeBack', { endpoint: this.#endpoint, clientId })
  }
}
