/**
 * What lies with the supervisor because several workers share it, and the way there: the counts of limits, and proofs that were
 * seen. So a limit is the same however many workers there are, a proof passes once, and both outlive each of them.
 *
 * Where the supervisor does not answer, a worker goes by what it knows itself for a second, and tries again: a limit that is
 * several times as high for a moment is better than a door that is shut, or one that is open.
 */
import { SeenProofs } from '../dpop/seen-proofs.ts'
import type { Channel, Subjects } from '../lib/channel.ts'
import type { Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import type { FailureKeys, PassedLimit } from './failure-counts.ts'
import { createLimitCounts, type LimitCounts, type LimitSettings } from './limit-counts.ts'
import type { Count } from './window-counters.ts'

/** Endpoints whose requests are counted by client. */
export type CountedEndpoint = 'token' | 'revoke' | 'introspect'

interface RequestKey {
  readonly endpoint: CountedEndpoint
  readonly clientId: string
}

interface ProofUse {
  /** In base64url. */
  readonly key: string
  readonly expiresAt: number
  readonly now: number
}

/** What a worker asks. `null`: no limit is passed, or there is nothing to say. */
export interface SharedQuestions extends Subjects {
  readonly 'failures.judge': readonly [FailureKeys, PassedLimit | null]
  readonly 'failures.count': readonly [FailureKeys, PassedLimit | null]
  readonly 'failures.takeBack': readonly [readonly FailureKeys[], null]
  readonly 'requests.add': readonly [RequestKey, Pick<Count, 'used' | 'resetSeconds'> | null]
  readonly 'requests.takeBack': readonly [RequestKey, null]
  readonly 'proofs.isFirst': readonly [ProofUse, boolean]
}

/** What all workers share, where it lies. */
export interface SharedMemory {
  readonly counts: LimitCounts
  readonly proofs: SeenProofs
}

export function createSharedMemory(settings: LimitSettings, clock: Clock): SharedMemory {
  return { counts: createLimitCounts(settings, clock), proofs: new SeenProofs() }
}

/** Answers the questions of one worker. */
export function serveSharedMemory(
  channel: Pick<Channel<SharedQuestions, Subjects>, 'on'>,
  { counts: { failures, requests }, proofs }: SharedMemory,
): void {
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
  channel.on('proofs.isFirst', ({ key, expiresAt, now }) =>
    proofs.isFirst({ kind: 'proof', key: Buffer.from(key, 'base64url'), expiresAt }, now),
  )
}

export interface LineParts {
  readonly channel: Pick<Channel<Subjects, SharedQuestions>, 'ask' | 'tell'>
  readonly clock: Clock
  readonly log: Log
}

const answerMilliseconds = 250
const aloneMilliseconds = 1_000

/** A worker's way to what is shared. */
export class SharedLine {
  readonly #parts: LineParts
  #aloneUntil = Number.NEGATIVE_INFINITY
  #isAlone = false

  constructor(parts: LineParts) {
    this.#parts = parts
  }

  tell<K extends keyof SharedQuestions & string>(subject: K, body: SharedQuestions[K][0]): void {
    this.#parts.channel.tell(subject, body)
  }

  /** `alone`: what the worker says by itself when nobody answers. */
  async ask<K extends keyof SharedQuestions & string, T>(
    subject: K,
    body: SharedQuestions[K][0],
    alone: () => T | Promise<T>,
  ): Promise<SharedQuestions[K][1] | T> {
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
