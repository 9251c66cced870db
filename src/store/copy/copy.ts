/**
 * Moves a store from one place to another, and leaves a fence where it was. What is copied when, and what follows when the
 * process is killed after which step: `docs/decisions/0018-moving-a-store.md`. The order of the last steps is all that
 * keeps two stores from minting the same refresh chain:
 *
 *   the source is locked    nothing more is written to it
 *   the target commits      it is complete, and refuses to open
 *   the source commits      it is left, and the id of the record of the move stands in it
 *   the witness is told     an earlier state of the source is behind it from now on
 *   the target is opened    only by whoever has found the same id in the source
 */

import { randomBytes } from 'node:crypto'
import type { Actor } from '../../audit/event.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Sequences } from '../../registry/registry-store.ts'
import { StoreOpenError } from '../store.ts'
import { covers } from '../witness.ts'
import type { CopyChange, CopyKey, CopySource, CopyTarget, WholeTable } from './sides.ts'
import { incomplete, isArriving, movedAway } from './state.ts'
import { type CopyTable, keyOf, rowTables, tableNamed, wholeTables } from './tables.ts'

const rowsAtOnce = 2_000
const changesAtOnce = 1_000
/** With so few left to do the source is locked. */
const fewChanges = 100
const mostRounds = 50
/** No table that is copied whole has more. */
const mostWhole = 100_000

export interface CopyOptions {
  readonly clock: Clock
  readonly actor: Actor
  /** Writes down how far the store has come, outside of it. */
  witness(storeId: string, known: Sequences & { readonly file: number }): Promise<void>
  /** Hears of rows that were copied while the source serves. */
  onRows?(table: string, rows: number): void
  /** Ends the copying, up to the last transaction. */
  readonly signal?: AbortSignal
}

/** What was copied. */
export interface Copied {
  readonly storeId: string
  /** The record of the move, in both. */
  readonly eventId: string
  /** By the name of the table. */
  readonly rows: Readonly<Record<string, number>>
  /** `resumed`: an earlier run had fenced the source; `already`: it had done all. */
  readonly how: 'copied' | 'resumed' | 'already'
  /** How long neither place could issue. */
  readonly pausedMilliseconds: number
}

/** @throws StoreOpenError with one sentence; StoreUnavailable, WitnessUnavailable */
export async function copyStore(source: CopySource, target: CopyTarget, options: CopyOptions): Promise<Copied> {
  const standing = await source.readStanding()
  const { storeId, state } = standing
  if (storeId === undefined) throw new StoreOpenError(`${source.location} has no keys yet: there is nothing to copy`)
  if (state?.state === 'left') return finishEarlier(source, target, options)
  if (state !== undefined && isArriving(state)) throw new StoreOpenError(incomplete(source.location, state))
  const { clock } = options
  const copyId = randomBytes(12).toString('hex')
  const at = clock.nowMilliseconds()
  await target.prepare({ copyId, storeId, other: source.location, at })
  let started = 0
  let moved: Moved
  try {
    // The source first: whoever is in his last transaction there must not lose the target.
    await source.begin({ copyId, storeId, other: target.location, at })
    await target.begin({ copyId, storeId, other: source.location, at })
    await copyRows(source, target, copyId, options)
    started = clock.monotonicMilliseconds()
    moved = await copyLast(source, target, copyId, options)
  } catch (error) {
    // What fails here as well is found by the next run.
    await source.rollback().catch(ignore)
    await source.abandon(copyId).catch(ignore)
    throw error
  }
  await source.leave(copyId, moved.eventId)
  await open(source, target, moved.eventId, options)
  const pausedMilliseconds = clock.monotonicMilliseconds() - started
  return { storeId, ...moved, how: 'copied', pausedMilliseconds }
}

type Moved = Pick<Copied, 'eventId' | 'rows'>

function ignore(): void {}

async function copyRows(
  source: CopySource,
  target: CopyTarget,
  copyId: string,
  { onRows, signal }: CopyOptions,
): Promise<void> {
  const catchUp = (): Promise<number> => copyChanges(source, target, copyId)
  for (const table of rowTables) {
    for (let after: CopyKey | undefined; ; ) {
      signal?.throwIfAborted()
      const rows = await source.readRows(table, after, rowsAtOnce)
      const last = rows.at(-1)
      if (last === undefined) break
      await target.put(copyId, table, rows)
      after = keyOf(table, last)
      onRows?.(table.name, rows.length)
      await catchUp()
    }
  }
  for (let round = 0; round < mostRounds; round += 1) {
    signal?.throwIfAborted()
    if ((await catchUp()) <= fewChanges) return
  }
}

/** Copies rows again that were changed. @returns how many there were */
async function copyChanges(source: CopySource, target: CopyTarget, copyId: string): Promise<number> {
  const changes = await source.takeChanges(copyId, changesAtOnce)
  // Only what is read after it was taken counts: what changes from now on is written down anew.
  for (const [table, keys] of groupKeys(changes)) {
    await target.replace(copyId, table, keys, await source.readByKeys(table, keys))
  }
  return changes.length
}

function groupKeys(changes: readonly CopyChange[]): ReadonlyMap<CopyTable, readonly CopyKey[]> {
  const groups = new Map<CopyTable, Map<string, CopyKey>>()
  for (const { table: name, key } of changes) {
    const table = tableNamed(name)
    const keys = groups.get(table) ?? new Map<string, CopyKey>()
    keys.set(JSON.stringify(key), key)
    groups.set(table, keys)
  }
  return new Map([...groups].map(([table, keys]) => [table, [...keys.values()]]))
}

// The last transaction of the source, up to its commit.
async function copyLast(
  source: CopySource,
  target: CopyTarget,
  copyId: string,
  { actor, clock }: CopyOptions,
): Promise<Moved> {
  const drain = async (): Promise<void> => {
    while ((await copyChanges(source, target, copyId)) > 0);
  }
  await source.lock(copyId)
  await drain()
  const detail = { from: source.location, to: target.location }
  const eventId = await source.writeRecord(actor, clock.nowMilliseconds(), detail)
  await drain()
  const rows: Record<string, number> = {}
  for (const table of rowTables) rows[table.name] = await compareCounts(source, target, table)
  const whole: WholeTable[] = []
  for (const table of wholeTables) {
    const all = await source.readRows(table, undefined, mostWhole)
    rows[table.name] = all.length
    whole.push({ table, rows: all })
  }
  await target.arrive(copyId, eventId, whole)
  return { eventId, rows }
}

async function compareCounts(source: CopySource, target: CopyTarget, table: CopyTable): Promise<number> {
  const [here, there] = await Promise.all([source.count(table), target.count(table)])
  if (here === there) return here
  throw new StoreOpenError(
    `${table.name} has ${here} rows in ${source.location} and ${there} in ${target.location}: somebody else has written to the target; nothing was moved, run \`mayfly db copy\` again`,
  )
}

async function open(
  source: CopySource,
  target: CopyTarget,
  eventId: string,
  { witness }: Pick<CopyOptions, 'witness'>,
): Promise<void> {
  const { storeId = '', registry, mark, state } = await source.readStanding()
  // Somebody may have brought the source back while this process was paused.
  if (state?.state !== 'left' || state.eventId !== eventId)
    throw new StoreOpenError(`${source.location} is no longer moved away: ${target.location} stays closed`)
  await witness(storeId, { registry, mark, file: source.readStamp() })
  await target.open(eventId)
}

/** An earlier run has fenced the source: the target holds all of it, or is not the one. */
async function finishEarlier(source: CopySource, target: CopyTarget, options: CopyOptions): Promise<Copied> {
  const left = await source.readStanding()
  const gone = () => new StoreOpenError(movedAway(source.location, left.state ?? { other: '', at: 0 }))
  if (!(await target.hasTables())) throw gone()
  const there = await target.readStanding()
  const [storeId, eventId] = [left.storeId ?? '', left.state?.eventId ?? '']
  const isReady = there.state?.state === 'arrived' && there.state.eventId === eventId
  const isDone =
    there.state === undefined && there.storeId === storeId && covers(there, left) && (await target.hasEvent(eventId))
  if (!isReady && !isDone) throw gone()
  if (isReady) await open(source, target, eventId, options)
  const rows: Record<string, number> = {}
  for (const table of [...rowTables, ...wholeTables]) rows[table.name] = await target.count(table)
  return { storeId, eventId, rows, how: isReady ? 'resumed' : 'already', pausedMilliseconds: 0 }
}
