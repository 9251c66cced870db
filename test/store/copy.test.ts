/** Moving a store from one place to another, whatever comes between. */
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, it, onTestFinished } from 'vitest'
import { systemClock } from '../../src/lib/clock.ts'
import { Secret } from '../../src/lib/secret.ts'
import { type Copied, copyStore } from '../../src/store/copy/copy.ts'
import type { CopySource, CopyTarget } from '../../src/store/copy/sides.ts'
import { allTables } from '../../src/store/copy/tables.ts'
import { moveStore, openStoreAt, type StorePlace } from '../../src/store/open-store.ts'
import * as schema from '../../src/store/postgres/schema.ts'
import { StoreOpenError } from '../../src/store/store.ts'
import { readWitness } from '../../src/store/witness.ts'
import { type Content, fillFile, readContent } from '../support/content.ts'
import { isLive, sourceAt, targetAt, useWorlds, type World } from '../support/move.ts'
import { connect, password, placeOf, usePostgres } from '../support/postgres.ts'
import { createRandom, repetitions, seed } from '../support/seed.ts'

const postgres = usePostgres()
const makeWorld = useWorlds()
/** Kills at steps besides those that are always looked at; so many as there are steps for all of them. */
const kills = repetitions('COPY_KILLS', 1)

/** One with another store in it. */
function makeStranger(): World {
  const world = makeWorld()
  change(world.place, `UPDATE installation SET store_id = 'another'`)
  return world
}

/** Changes a file as somebody does who goes past the program. */
function change({ databasePath }: StorePlace, statement: string): void {
  const sqlite = new Database(databasePath)
  sqlite.exec(statement)
  sqlite.close()
}

const emptyDatabase = async (): Promise<StorePlace> => placeOf(await postgres().makeDatabase({ empty: true }))

/** What a move adds on both sides, taken away: its record, and a step of the registry. */
function withoutMoves(content: Content): Content {
  const events = content.audit_event?.filter((row) => !row.includes('"store.copied"')) ?? []
  const sequence = content.sequence?.filter((row) => !row.includes('"registry"')) ?? []
  return { ...content, audit_event: events, sequence }
}

function registryOf(content: Content): number {
  return Number(/\["value",(\d+)\]/.exec(content.sequence?.find((row) => row.includes('"registry"')) ?? '')?.[1])
}

const moves = async (place: StorePlace): Promise<number> => {
  const store = await openStoreAt(place, { create: false, examine: false })
  onTestFinished(() => store.close())
  return (await store.listAudit({ type: 'store.copied', limit: 100 })).length
}

class Killed extends Error {}

/** Kills the process, as it were, at one of its calls to both sides: before it is made, or after; nothing that comes later happens. */
class Killer {
  readonly made: string[] = []
  readonly #at: number
  readonly #after: boolean
  #dead = false

  constructor(at: number, after: boolean) {
    this.#at = at
    this.#after = after
  }

  get where(): string {
    return `killed ${this.#after ? 'after' : 'before'} call ${this.#at}`
  }

  hasDone(name: string): boolean {
    return this.made.includes(name) && (this.#after || this.made.at(-1) !== name)
  }

  around<T extends object>(side: T): T {
    return new Proxy(side, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name)
        if (typeof value !== 'function' || name === 'close' || name === 'readStamp')
          return typeof value === 'function' ? value.bind(target) : value
        return (...args: unknown[]) => this.#call(String(name), () => value.apply(target, args) as unknown)
      },
    })
  }

  async #call(name: string, run: () => unknown): Promise<unknown> {
    if (this.#dead) throw new Killed()
    this.made.push(name)
    if (this.made.length !== this.#at) return run()
    this.#dead = true
    if (this.#after) await run()
    throw new Killed()
  }
}

/** One run of the copy, with its connections closed as the end of the process closes them. */
async function runKilled(world: World, to: StorePlace, killer: Killer): Promise<void> {
  const source = await sourceAt(world.place)
  const target = await targetAt(to)
  const witness = {
    tell: async () => undefined,
  }
  try {
    const killable = killer.around(witness)
    await copyStore(killer.around(source), killer.around(target), {
      clock: systemClock,
      actor: 'cli:test',
      witness: () => killable.tell(),
    })
  } finally {
    await target.close()
    await source.close()
  }
}

function makeSmallWorld(): World {
  const world = makeWorld()
  fillFile(world.place.databasePath, createRandom(2), 5)
  return world
}

/** Makes the same on PostgreSQL, again and again. */
async function prepareSmallWorldsThere(): Promise<() => Promise<World>> {
  const first = makeSmallWorld()
  const place = await emptyDatabase()
  await first.move(first.place, place)
  return async () => ({
    ...makeWorld(first.folder),
    place: placeOf(await postgres().cloneDatabase(place.postgresUrl?.reveal() ?? '')),
  })
}

const migratedDatabase = async (): Promise<StorePlace> => placeOf(await postgres().makeDatabase())
const newFile = async (world: World): Promise<StorePlace> => world.file('new.db')

/** Kills a run, and runs it again. @returns what the second one had to do */
async function expectOneHome(world: World, to: StorePlace, killer: Killer): Promise<Copied['how']> {
  const [before, madeBefore] = [await readContent(world.place), await moves(world.place)]
  const live = () => Promise.all([world.place, to].map((place) => isLive(place, world.witness)))
  await expect(runKilled(world, to, killer), killer.where).rejects.toThrow(Killed)
  const [here, there] = await live()
  expect(here && there, killer.where).toBe(false)
  // Nobody takes it for a place where a new store may begin.
  if (!there && killer.hasDone('prepare'))
    await expect(openStoreAt(to, { create: true, examine: false })).rejects.toThrow('is an incomplete copy of')
  const { how } = await world.move(world.place, to)
  expect(how, killer.where).toBe(there ? 'already' : here ? 'copied' : 'resumed')
  expect(await live(), killer.where).toEqual([false, true])
  expect(withoutMoves(await readContent(to)), killer.where).toEqual(withoutMoves(before))
  expect(await moves(to), killer.where).toBe(madeBefore + 1)
  return how
}

/** Copies, and has somebody work on the source between the calls, until it is locked. @returns how often */
async function runBetween(
  source: CopySource,
  target: CopyTarget,
  work: (round: number) => Promise<void>,
): Promise<number> {
  let [calls, rounds, isLocked] = [0, 0, false]
  const busy = new Proxy(source, {
    get: (side, name) => {
      const value: unknown = Reflect.get(side, name)
      if (typeof value !== 'function') return value
      return async (...args: unknown[]) => {
        isLocked ||= name === 'lock'
        // Every other time, up to the last table.
        if (!isLocked && (name === 'readRows' || name === 'takeChanges') && calls++ % 2 === 0 && rounds < 20)
          await work(rounds++)
        return value.apply(side, args)
      }
    },
  })
  await copyStore(busy, target, { clock: systemClock, actor: 'cli:test', witness: async () => undefined })
  return rounds
}

describe(`a store that moves (seed ${seed})`, () => {
  it('takes all tables with it, but its marks of the move', () => {
    const tables = new Set(allTables.map(({ name }) => name))
    const made = Object.values(schema).map(
      (table) => (table as unknown as Record<symbol, string>)[Symbol.for('drizzle:Name')],
    )
    expect(made.filter((name) => !tables.has(name ?? ''))).toEqual(['copy_state', 'copy_change'])
  })

  it('is the same afterwards from SQLite to PostgreSQL, to another PostgreSQL, and back, to the last byte', async () => {
    const world = makeWorld()
    fillFile(world.place.databasePath, createRandom(1), 120)
    const before = await readContent(world.place)
    const places = [
      world.place,
      await emptyDatabase(),
      await emptyDatabase(),
      world.file('back.db'),
      world.file('on.db'),
    ]
    for (const [i, from] of places.slice(0, -1).entries()) {
      const to = places[i + 1] as StorePlace
      const copied = await world.move(from, to)
      const content = await readContent(to)
      expect(withoutMoves(content)).toEqual(withoutMoves(before))
      expect(registryOf(content)).toBe(registryOf(before) + i + 1)
      expect(content).toEqual(await readContent(from))
      expect(copied).toMatchObject({ how: 'copied', rows: { client: 122, issuance: 120, replay: 120 } })
      expect([await isLive(from, world.witness), await isLive(to, world.witness)]).toEqual([false, true])
      expect(await moves(to)).toBe(i + 1)
      const store = await openStoreAt(to, { create: false, examine: true })
      expect(await store.check()).toEqual([])
      await store.close()
    }
  })

  it('has the constraints of a fresh database, and no trigger is left where it lives', async () => {
    const world = makeWorld()
    const to = await emptyDatabase()
    await world.move(world.place, to)
    const outline = async (url: string): Promise<unknown> => {
      const client = await connect(url)
      const constraints = await client.query(
        `SELECT conrelid::regclass AS table, conname, pg_get_constraintdef(oid) AS def, convalidated FROM pg_constraint
         WHERE connamespace = 'public'::regnamespace AND contype IN ('f', 'p', 'c', 'u') ORDER BY 1, 2`,
      )
      const triggers = await client.query('SELECT tgname FROM pg_trigger WHERE NOT tgisinternal')
      return [constraints.rows, triggers.rows]
    }
    expect(await outline(to.postgresUrl?.reveal() ?? '')).toEqual(await outline(await postgres().makeDatabase()))
    const back = world.file('back.db')
    await world.move(to, back)
    const sqlite = new Database(back.databasePath, { readonly: true })
    onTestFinished(() => void sqlite.close())
    expect(sqlite.prepare(`SELECT name FROM sqlite_schema WHERE type = 'trigger'`).all()).toEqual([])
  })

  for (const [kind, prepareSources, makeTarget] of [
    ['SQLite to PostgreSQL', async () => async () => makeSmallWorld(), migratedDatabase],
    ['SQLite to SQLite', async () => async () => makeSmallWorld(), newFile],
    ['PostgreSQL to SQLite', prepareSmallWorldsThere, newFile],
  ] as const) {
    const sentence = `lives in one place after a kill at any step, and in the new one after the next run: ${kind}`
    it(sentence, { timeout: 600_000 }, async () => {
      const makeSource = await prepareSources()
      const clean = await makeSource()
      const counter = new Killer(Number.POSITIVE_INFINITY, false)
      await runKilled(clean, await makeTarget(clean), counter)
      const random = createRandom(3)
      const steps = counter.made.map((name, i) => ({ name, step: i + 1 }))
      // What was done before `leave`, or is done after it, is what is done after `arrive`, or before `tell`.
      const isChosen = ({ name }: { name: string }) => /^(?:prepare|arrive|tell|open)$/.test(name)
      const others = steps.filter((step) => !isChosen(step))
      const drawn = others.map((step) => ({ step, at: random.next() })).toSorted((a, b) => a.at - b.at)
      const chosen = [...steps.filter(isChosen), ...drawn.slice(0, kills).map(({ step }) => step)]
      const outcomes = new Set<string>()
      for (const { name, step } of chosen) {
        const world = await makeSource()
        // What comes after the last one is that the caller hears of it.
        const killer = new Killer(step, name === 'open' || name === 'prepare' || random.chance(0.5))
        outcomes.add(await expectOneHome(world, await makeTarget(world), killer))
      }
      expect(outcomes).toEqual(new Set(['copied', 'resumed', 'already']))
    })
  }

  it('stays where it is when the copying is stopped, with nothing left behind', async () => {
    const world = makeSmallWorld()
    const to = await emptyDatabase()
    const stop = new AbortController()
    const run = moveStore({
      from: world.place,
      to,
      witnessFile: world.witness,
      actor: 'cli:test',
      checkKeys: () => undefined,
      signal: stop.signal,
      onRows: (table) => (table === 'client' ? stop.abort(new Error('stopped')) : undefined),
    })
    await expect(run).rejects.toThrow('stopped')
    expect([await isLive(world.place, world.witness), await isLive(to, world.witness)]).toEqual([true, false])
    const sqlite = new Database(world.place.databasePath, { readonly: true })
    onTestFinished(() => void sqlite.close())
    const left = `SELECT (SELECT count(*) FROM sqlite_schema WHERE type = 'trigger') + (SELECT count(*) FROM copy_state)`
    expect(sqlite.prepare(left).pluck().get()).toBe(0)
    await expect(openStoreAt(to, { create: false, examine: false })).rejects.toThrow(
      `is an incomplete copy of ${world.place.databasePath}`,
    )
    expect((await world.move(world.place, to)).how).toBe('copied')
  })

  it('brings what is changed while it is copied, by whomever, and removes what is gone', async () => {
    for (const from of ['sqlite', 'postgres'] as const) {
      const world = makeWorld()
      fillFile(world.place.databasePath, createRandom(4), 50)
      const start = from === 'sqlite' ? world.place : await emptyDatabase()
      if (from === 'postgres') await world.move(world.place, start)
      const other = await openStoreAt(start, { create: false, examine: false })
      onTestFinished(() => other.close())
      const to = from === 'sqlite' ? await emptyDatabase() : world.file('to.db')
      const source = await sourceAt(start)
      const target = await targetAt(to)
      onTestFinished(async () => {
        await source.close()
        await target.close()
      })
      const uses = new Set<string>()
      const work = async (round: number): Promise<void> => {
        const uri = `https://new-${round}.example.test`
        await other.createResource(uri, { scopes: ['read'] }, 'cli:test')
        if (round % 3 === 0) await other.deleteResource(uri, 'cli:test')
        await other.updateClient('job', { name: `name ${round}` }, 'cli:test')
        const use = { kind: 'assertion', key: Buffer.from(`use ${round}`), expiresAt: Date.now() + 60_000 } as const
        await other.useOnce([use])
        uses.add(use.key.toString('hex'))
      }
      const rounds = await runBetween(source, target, work)
      const content = await readContent(to)
      expect(content).toEqual(await readContent(start))
      expect(rounds).toBeGreaterThan(15)
      const added = Array.from({ length: rounds }, (_, round) => round).filter((round) => round % 3 !== 0)
      expect(content.resource?.filter((row) => row.includes('https://new-'))).toHaveLength(added.length)
      expect(content.client?.some((row) => row.includes(`"name ${rounds - 1}"`))).toBe(true)
      for (const use of uses) expect(content.replay?.some((row) => row.includes(use))).toBe(true)
    }
  })

  it('lets nobody write in the old place who had it open, and readers of the registry know', async () => {
    for (const from of ['sqlite', 'postgres'] as const) {
      const world = makeWorld()
      const start = from === 'sqlite' ? world.place : await emptyDatabase()
      if (from === 'postgres') await world.move(world.place, start)
      const old = await openStoreAt(start, { create: false, examine: false })
      onTestFinished(() => old.close())
      const to = await emptyDatabase()
      await world.move(start, to)
      const before = await readContent(start)
      const writes = [
        () => old.createResource('https://late.example.test', { scopes: [] }, 'cli:test'),
        () => old.useOnce([{ kind: 'assertion', key: Buffer.from('late'), expiresAt: Date.now() + 60_000 }]),
        () => old.checkWritable(),
        () => old.noteMoment(1),
        () => old.offboardClient('job', 'cli:test'),
        () => old.readRegistryHead(),
      ]
      for (const write of writes)
        await expect(write()).rejects.toMatchObject({ name: 'StoreUnavailable', outcomeUnknown: false })
      expect(await readContent(start)).toEqual(before)
      await expect(openStoreAt(start, { create: false, examine: false })).rejects.toThrow(
        `${start.databasePath} has moved to ${to.databasePath}, at 20`,
      )
      await expect(openStoreAt(start, { create: false, examine: false })).rejects.not.toThrow(password)
    }
  })

  it('goes to no place that holds something, and changes nothing there nor here', async () => {
    const world = makeWorld()
    const stranger = makeStranger()
    const database = await emptyDatabase()
    await stranger.move(stranger.place, database)
    const foreign = await emptyDatabase()
    await (await connect(foreign.postgresUrl?.reveal() ?? '')).query('CREATE TABLE theirs (id integer)')
    const newer = placeOf(await postgres().makeDatabase({ empty: true }))
    await (await openStoreAt(newer, { create: true, examine: false })).close()
    await (await connect(newer.postgresUrl?.reveal() ?? '')).query(`INSERT INTO migration VALUES (99, 'new', 0)`)
    const half = world.file('half.db')
    await expect(runKilled(makeStranger(), half, new Killer(9, true))).rejects.toThrow(Killed)
    const before = await readContent(world.place)
    const refusals: readonly (readonly [StorePlace, RegExp])[] = [
      [database, /is not empty: give --to an empty place$/],
      [stranger.place, /is where a database has moved away from, to postgres:/],
      [foreign, /is a database of another program/],
      [newer, /was written by a newer Mayfly/],
      [half, /is an incomplete copy of another database/],
      [world.place, /by another name/],
      [world.file('data'), /is not a file/],
      [
        {
          databasePath: 'postgres://x@127.0.0.1:1/x',
          postgresUrl: new Secret(`postgres://x:${password}@127.0.0.1:1/x`),
        },
        /does not answer/,
      ],
    ]
    for (const [place, sentence] of refusals) {
      await expect(world.move(world.place, place), place.databasePath).rejects.toThrow(sentence)
      await expect(world.move(world.place, place)).rejects.toThrow(StoreOpenError)
    }
    expect(await readContent(world.place)).toEqual(before)
    expect(await isLive(world.place, world.witness)).toBe(true)
    expect(await isLive(database, stranger.witness)).toBe(true)
  })

  it('does not start from a place that is missing, has no keys, is older, newer or an old copy', async () => {
    const world = makeWorld()
    const to = await emptyDatabase()
    const missing = world.file('nothing.db')
    await expect(world.move(missing, to)).rejects.toThrow(`there is no database at ${missing.databasePath}`)
    const unclaimed = world.file('unclaimed.db')
    await (await openStoreAt(unclaimed, { create: true, examine: false })).close()
    await expect(world.move(unclaimed, to)).rejects.toThrow('has no keys yet: there is nothing to copy')
    change(unclaimed, 'DELETE FROM migration WHERE position > 4')
    await expect(world.move(unclaimed, to)).rejects.toThrow('is of an older Mayfly: run `mayfly db migrate`')
    change(world.place, `UPDATE sequence SET value = value - 1 WHERE name = 'registry'`)
    await expect(world.move(world.place, to)).rejects.toThrow('is an older copy of the database')
    change(world.place, `INSERT INTO migration VALUES (99, 'new', 0)`)
    await expect(world.move(world.place, to)).rejects.toThrow('was written by a newer Mayfly')
    await expect(openStoreAt(to, { create: false, examine: false })).rejects.toThrow('has no tables of this version')
  })

  it('is stopped when it changes faster than it is copied, and stays where it is', async () => {
    const world = makeWorld()
    const to = await emptyDatabase()
    const source = await sourceAt(world.place)
    const target = await targetAt(to)
    onTestFinished(async () => {
      await source.close()
      await target.close()
    })
    const sqlite = new Database(world.place.databasePath)
    onTestFinished(() => void sqlite.close())
    let flooded = false
    const flooding = new Proxy(source, {
      get: (side, name) => {
        const value: unknown = Reflect.get(side, name)
        if (name === 'readRows' && !flooded) {
          flooded = true
          sqlite.exec(`INSERT INTO client_hour WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200100)
            SELECT 'c' || i, 0, 0 FROM n`)
        }
        return typeof value === 'function' ? value.bind(side) : value
      },
    })
    const run = copyStore(flooding, target, { clock: systemClock, actor: 'cli:test', witness: async () => undefined })
    await expect(run).rejects.toThrow('changes faster than it is copied')
    expect([await isLive(world.place, world.witness), await isLive(to, world.witness)]).toEqual([true, false])
    expect(sqlite.prepare(`SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'`).pluck().get()).toBe(0)
    expect(sqlite.prepare('SELECT count(*) FROM copy_change').pluck().get()).toBe(0)
  })

  it('goes to one place alone when two copy it at once: the later run, or the one that was about to end', async () => {
    const world = makeWorld()
    fillFile(world.place.databasePath, createRandom(5), 50)
    const targets = [await emptyDatabase(), await emptyDatabase()]
    const outcomes = await Promise.allSettled(targets.map((to) => world.move(world.place, to)))
    const live = await Promise.all(targets.map((to) => isLive(to, world.witness)))
    expect(outcomes.map(({ status }) => status === 'fulfilled')).toEqual(live)
    expect(live.filter(Boolean)).toHaveLength(1)
    expect(await isLive(world.place, world.witness)).toBe(false)
  })

  it('tells the witness before it opens the new place, so that a backup of the old one is known for what it is', async () => {
    const world = makeWorld()
    const store = await openStoreAt(world.place, { create: false, examine: false })
    const backup = world.file('backup.db')
    await store.backup(backup.databasePath)
    await store.close()
    const to = await emptyDatabase()
    const { storeId } = await world.move(world.place, to)
    const registry = registryOf(await readContent(to))
    expect(readWitness(world.witness)?.get(storeId)).toMatchObject({ registry })
    await expect(
      openStoreAt(backup, { create: false, examine: false, witness: { file: world.witness } }),
    ).rejects.toThrow('is an older copy of the database')
  })

  it('comes back to the old place by accept-current alone, with nothing alive that was minted before', async () => {
    for (const from of ['sqlite', 'postgres'] as const) {
      const world = makeWorld()
      const start = from === 'sqlite' ? world.place : await emptyDatabase()
      if (from === 'postgres') await world.move(world.place, start)
      const to = await emptyDatabase()
      const moved = await world.move(start, to)
      const store = await openStoreAt(start, { create: false, examine: false, evenIfMoved: true })
      await expect(store.createResource('https://late.example.test', { scopes: [] }, 'cli:test')).rejects.toThrow()
      const { tokensAfter } = await store.acceptAsPresent({ registry: 0, mark: 0, issuedUpTo: 0 }, 'cli:test')
      expect(tokensAfter).toBeGreaterThan(Date.now())
      await store.createResource('https://late.example.test', { scopes: [] }, 'cli:test')
      await store.close()
      expect(await isLive(start, join(world.folder, 'other.witness'))).toBe(true)
      await expect(world.move(start, to)).rejects.toThrow('is not empty')
      expect(moved.how).toBe('copied')
    }
  })
})
