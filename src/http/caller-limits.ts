/**
 * The limits that callers meet: failed authentications of strangers, and requests of a client that has proved itself.
 * The second are counted after the proof, so that nobody can use up what another may; each endpoint has a count of its own.
 */
import { auditedEndpoints } from '../audit/event.ts'
import type { Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import { OAuthError, refusalOf } from '../oauth/errors.ts'
import type { LimitState } from '../oauth/rate-limit.ts'
import { addressGroup } from './address.ts'
import type { RequestFacts } from './caller.ts'
import type { PassedLimit } from './failure-counts.ts'
import { type Attempt, FailureThrottle } from './failure-throttle.ts'
import { type LimitCounts, type LimitSettings, windowSeconds } from './limit-counts.ts'
import type { Metrics } from './metrics.ts'
import type { RequestRecord, Route } from './request.ts'
import { WindowCounters } from './window-counters.ts'

/** Which limits there are, for metrics. */
export const limitNames = ['address', 'client', 'requests'] as const

export type LimitName = (typeof limitNames)[number]

/** An attempt to prove oneself, at an endpoint. */
export interface CallerAttempt extends Attempt {
  readonly route: Route
  /** For which it would have been refused unchecked. */
  readonly passed?: PassedLimit | undefined
}

export interface LimitParts {
  readonly settings: LimitSettings
  /** Where is counted. */
  readonly counts: LimitCounts
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
}

/** Lines of the log a minute about what would have been refused. */
const maxLines = 60

export class CallerLimits {
  readonly #parts: LimitParts
  readonly #failures: FailureThrottle
  readonly #lines: WindowCounters

  constructor(parts: LimitParts) {
    this.#parts = parts
    this.#failures = new FailureThrottle(parts.counts.failures)
    this.#lines = new WindowCounters(parts.clock, { limit: maxLines, windowSeconds, maxKeys: 1 })
  }

  /** Before a client proves itself. @throws OAuthError `too_many_failures`, and then no check is made */
  async admit(record: RequestRecord, facts: RequestFacts): Promise<void> {
    if (this.#isOff) return
    const attempt = attemptOf(record, facts)
    const passed = await this.#failures.admit(attempt)
    facts.attempt = { ...attempt, passed }
    if (passed === undefined || this.#parts.settings.rateLimitMode !== 'enforce') return
    await this.#failures.noteFailure(attempt)
    await this.#refuseFailure(attempt, passed)
  }

  /**
   * Once a client has proved itself; a request counts once, however often it is decided.
   *
   * @throws OAuthError `too_many_requests`
   */
  async noteProof(facts: RequestFacts): Promise<void> {
    const { attempt, client } = facts
    if (attempt === undefined || client === undefined) return
    if (facts.isCounted !== true) {
      facts.isCounted = true
      // One that would have been refused, and is right: the one that an operator who only looks must hear of.
      if (attempt.passed !== undefined) await this.#refuseFailure(attempt, attempt.passed)
      await this.#failures.noteSuccess(attempt)
      facts.tooMany = await this.#countRequest(attempt, client.client.clientId, facts)
    }
    if (facts.tooMany !== undefined) throw facts.tooMany
  }

  /** What a refusal becomes: a failed authentication, or one that could not be checked, counts, and above the limit it is 429. */
  async judge(record: RequestRecord, facts: RequestFacts, refusal: OAuthError): Promise<OAuthError> {
    const isBusy = refusal.reason === 'secret_check_busy'
    if (this.#isOff || !isLimited(record.route) || !(isBusy || isFailedGuess(refusal, facts))) return refusal
    if (refusal.reason === 'assertion_replayed') await this.#takeRequestBack(facts)
    const attempt = attemptOf(record, facts)
    const passed = await (isBusy ? this.#failures.noteBusy(attempt) : this.#failures.noteFailure(attempt))
    if (passed === undefined) return refusal
    try {
      await this.#refuseFailure(attempt, passed)
      return refusal
    } catch (error) {
      if (error instanceof OAuthError) return error
      throw error
    }
  }

  get #isOff(): boolean {
    return this.#parts.settings.rateLimitMode === 'off'
  }

  async #refuseFailure({ address }: CallerAttempt, { by, state }: PassedLimit): Promise<void> {
    if (await this.#refuses(by, { address })) throw new OAuthError('too_many_failures', { limit: state })
  }

  // Counted in either mode: an operator who only looks wants to see what a limit would do.
  async #countRequest(
    { route }: CallerAttempt,
    clientId: string,
    facts: RequestFacts,
  ): Promise<OAuthError | undefined> {
    const counters = this.#parts.counts.requests[route]
    if (counters === undefined) return undefined
    const { used, resetSeconds } = await counters.add(clientId)
    const remaining = Math.max(0, counters.limit - used)
    const limit: LimitState = { name: 'requests', quota: counters.limit, windowSeconds, remaining, resetSeconds }
    if (this.#parts.settings.rateLimitMode === 'enforce') facts.limit = limit
    if (used <= counters.limit || !(await this.#refuses('requests', { client_id: clientId, route }))) return undefined
    return new OAuthError('too_many_requests', { limit })
  }

  // Whoever sends again what a client has signed is not that client: he must not use up its requests, nor hear of them.
  async #takeRequestBack(facts: RequestFacts): Promise<void> {
    const { attempt, client, isCounted } = facts
    if (attempt === undefined || client === undefined || isCounted !== true) return
    await this.#parts.counts.requests[attempt.route]?.takeBack(client.client.clientId)
    delete facts.limit
  }

  async #refuses(limit: LimitName, fields: object): Promise<boolean> {
    const { settings, metrics, log } = this.#parts
    const enforces = settings.rateLimitMode === 'enforce'
    metrics.countLimited(limit, enforces ? 'refused' : 'logged')
    // What is refused has its log line as every refusal has, sampled; a flood must not fill the log with the rest.
    if (!enforces && (await this.#lines.add('')).used <= maxLines) log.warn({ limit, ...fields }, 'would be refused')
    return enforces
  }
}

function attemptOf(record: RequestRecord, { claim }: RequestFacts): CallerAttempt {
  return { address: addressGroup(record.address), claim, route: record.route }
}

// Whoever has the right secret and sends it the wrong way guesses at nothing: some libraries try both ways. A certificate
// proves nothing of a client that takes none, and whoever named one would learn here that it exists.
function isFailedGuess({ reason }: OAuthError, { claim }: RequestFacts): boolean {
  if (refusalOf(reason).error !== 'invalid_client') return false
  return reason !== 'authentication_method_not_registered' || claim?.kind === 'certificate'
}

function isLimited(route: Route): boolean {
  return auditedEndpoints.some((endpoint) => endpoint === route)
}
