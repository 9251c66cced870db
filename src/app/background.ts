/** What an issuer does now and then, without being asked, and what it does last. */

import type { SecretUse } from '../client/secret-use.ts'
import type { RefusalLog } from '../http/refusal-log.ts'
import type { KeyScheduler } from '../key/scheduler.ts'
import type { SteadyClock } from '../lib/clock.ts'
import { describeError, type Log } from '../lib/log.ts'
import { pause } from '../lib/pause.ts'
import { markGraceMilliseconds } from '../token/marks.ts'
import { isFirst, type Parts } from './parts.ts'

const flushMilliseconds = 5_000
const pruneMilliseconds = 60_000
const pruneFamiliesMilliseconds = 10 * 60_000
const prunePauseMilliseconds = 100
const tlsFilesMilliseconds = 2_000
const pruneBatch = 1_000
// So long a refusal can still say why a refresh token is dead.
const deadFamilyMilliseconds = 60 * 60_000
// Clocks of processes differ, and whoever comes too late by his own must find that he does.
const replayGraceMilliseconds = 60_000
// So far wall time may be behind before it is stored how far refresh families have lived.
const behindMilliseconds = 1_000

/** What lives in memory for a while before it is written. */
export interface Unwritten {
  readonly secretUse: SecretUse
  readonly refusals: RefusalLog
  readonly keys: KeyScheduler
  /** By which refresh families live. */
  readonly familyClock: SteadyClock
}

/** Begins everything that is done now and then. @returns how to end it, with what is still to be written */
export function startBackground(parts: Parts, unwritten: Unwritten): () => Promise<void> {
  const { log, membership } = parts
  const { secretUse, refusals, keys, familyClock } = unwritten
  const background = new AbortController()
  const jobs = [
    repeat(flushMilliseconds, background.signal, log, async () => {
      await secretUse.flush()
      await refusals.flush()
      await shareMoment(parts, familyClock)
    }),
    repeat(tlsFilesMilliseconds, background.signal, log, async () => refreshTls(parts)),
    ...(isFirst(membership) ? pruneNowAndThen(parts, familyClock, background.signal) : []),
    repeat(parts.keyTickMilliseconds, background.signal, log, () => {
      // Whoever has nothing to do sees a step of the clock as those do who are busy.
      familyClock.nowMilliseconds()
      return keys.tick()
    }),
  ]
  return async () => {
    background.abort()
    await Promise.all(jobs)
    await lastWrites(
      log,
      () => secretUse.flush(),
      () => refusals.flush(true),
      () => keys.save(),
      () => shareMoment(parts, familyClock),
    )
  }
}

// Runs a job now and then until the signal. A job that fails runs again at its next time; the log hears of the first failure.
async function repeat(everyMs: number, signal: AbortSignal, log: Log, job: () => Promise<void>): Promise<void> {
  let failing = false
  for (;;) {
    await pause(everyMs, signal)
    if (signal.aborted) return
    try {
      await job()
      if (failing) log.info({}, 'background job works again')
      failing = false
    } catch (error) {
      if (!failing) log.warn({ err: describeError(error) }, 'background job failed')
      failing = true
    }
  }
}

async function lastWrites(log: Log, ...writes: (() => Promise<void>)[]): Promise<void> {
  for (const write of writes) {
    await write().catch((error: unknown) => log.warn({ err: describeError(error) }, 'not written at the end'))
  }
}

function refreshTls({ tls, log }: Parts): void {
  try {
    if (tls?.refresh() === true) log.info({}, 'TLS files read again')
  } catch (error) {
    log.error({ err: describeError(error) }, 'TLS files not read again: those of before stay in force')
  }
}

// Wall time that is not behind says the same to every process, and after a restart. Where it is behind, only the store does.
async function shareMoment({ store, clock }: Parts, familyClock: SteadyClock): Promise<void> {
  familyClock.adopt(await store.readMoment())
  const now = familyClock.nowMilliseconds()
  if (now - clock.nowMilliseconds() > behindMilliseconds) await store.noteMoment(now)
}

function pruneNowAndThen(parts: Parts, familyClock: SteadyClock, signal: AbortSignal): readonly Promise<void>[] {
  return [
    repeat(pruneMilliseconds, signal, parts.log, () => prune(parts, signal)),
    repeat(pruneFamiliesMilliseconds, signal, parts.log, () => pruneFamilies(parts, familyClock, signal)),
  ]
}

// Small batches with pauses: requests share the transactions, and none of them shall wait for a long one.
async function prune({ settings, store, ringClock }: Parts, signal: AbortSignal): Promise<void> {
  // A wall clock that jumps ahead must not take the records of live tokens with it.
  const { now } = ringClock.moment()
  const before = {
    issuance: now - settings.auditIssuanceRetentionSeconds * 1000,
    others: now - settings.auditRetentionSeconds * 1000,
    limit: pruneBatch,
  }
  const inBatches = async (batch: () => Promise<number>): Promise<void> => {
    while (!signal.aborted && (await batch()) === pruneBatch) await pause(prunePauseMilliseconds, signal)
  }
  await inBatches(() => store.pruneAudit(before))
  await inBatches(() => store.pruneReplays(now - replayGraceMilliseconds, pruneBatch))
  await inBatches(() => store.pruneMarks(now - markGraceMilliseconds, pruneBatch))
}

// All are looked through, a small part at a time, for it takes an index to find the dead ones, and each use of a family would
// have to write that as well.
async function pruneFamilies({ store }: Parts, familyClock: SteadyClock, signal: AbortSignal): Promise<void> {
  const before = familyClock.nowMilliseconds() - deadFamilyMilliseconds
  for (let after: string | undefined = ''; after !== undefined && !signal.aborted; ) {
    after = await store.pruneFamilies(before, { after, limit: pruneBatch })
    await pause(prunePauseMilliseconds, signal)
  }
}
