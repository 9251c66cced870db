/** A move, and what somebody else does between two of its statements. */
import { cpSync, linkSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, it, onTestFinished } from 'vitest'
import { systemClock } from '../../src/lib/clock.ts'
import { copyStore } from '../../src/store/copy/copy.ts'
import type { CopyMark, CopySource } from '../../src/store/copy/sides.ts'
import { moveStore, openStoreAt, type StorePlace } from '../../src/store/open-store.ts'
import { SqliteCopySource } from '../../src/store/sqlite/copy-source.ts'
import type { Store } from '../../src/store/store.ts'
import { Witness } from '../../src/store/witness.ts'
import { beforeQuery, beforeRead, settledOrWaiting } from '../support/between.ts'
import { readContent } from '../support/content.ts'
import { isLive, sourceAt, targetAt, useWorlds, type World, withStoreAt } from '../support/move.ts'
import { connect, placeOf, usePostgres } from '../support/postgres.ts'

const postgres = usePostgres()
const makeWorld = useWorlds()
const kinds = ['SQLite', 'PostgreSQL'] as const

const emptyDatabase = async (): Promise<StorePlace> => placeOf(await postgres().makeDatabase({ empty: true }))

/** A world whose store lies in a place of that kind. */
async function makeWorldOn(kind: (typeof kinds)[number]): Promise<World> {
  return kind === 'SQLite' ? makeWorld() : withStoreAt(makeWorld(), await emptyDatabase())
}

async function openSource(place: StorePlace): Promise<CopySource> {
  const source = await sourceAt(place)
  onTestFinished(() => source.close())
  return source
}

async function openStore(place: StorePlace, more: { readonly evenIfMoved?: boolean } = {}): Promise<Store> {
  const store = await openStoreAt(place, { create: false, examine: false, ...more })
  onTestFinished(() => store.close())
  return store
}

const run = (copyId: string): CopyMark => ({ copyId, storeId: 'any', other: 'elsewhere', at: 0 })

/** A statement of somebody who goes past the program. */
async function change({ databasePath, postgresUrl }: StorePlace, statement: string): Promise<void> {
  if (postgresUrl !== undefined) return void (await (await connect(postgresUrl.reveal())).query(statement))
  const sqlite = new Database(databasePath)
  sqlite.exec(statement)
  sqlite.close()
}

const note = (key: string) => [{ kind: 'assertion', key: Buffer.from(key), expiresAt: Date.now() + 60_000 }] as const

describe('the readers of a store that leaves', () => {
  it('never take the last state of the old place for one of a store that is there, whenever it leaves', async () => {
    let reads = 0
    for (let hasLeft = true; hasLeft; ) {
      const world = makeWorld()
      const store = await openStore(world.place)
      const source = new SqliteCopySource(world.place.databasePath, Date.now())
      onTestFinished(() => source.close())
      await source.begin(run('one'))
      const leave = (): void => {
        const fence = new Database(world.place.databasePath)
        fence.exec(`BEGIN IMMEDIATE; UPDATE sequence SET value = value + 1 WHERE name = 'registry';
          UPDATE copy_state SET state = 'left', event_id = 'x'; COMMIT`)
        fence.close()
      }
      reads += 1
      const happened = beforeRead(/./, reads, leave)
      const head = await store.readRegistryHead().catch(() => undefined)
      hasLeft = happened()
      if (hasLeft && head !== undefined) expect(head.sequence).toBeLessThan(await store.readRegistrySequence())
    }
    expect(reads).toBeGreaterThan(3)
  })
})

describe('a run of the copy that is overtaken', () => {
  it('takes nothing of what was written down for the later one, however long it was paused', async () => {
    for (const kind of kinds) {
      const { place } = await makeWorldOn(kind)
      const store = await openStore(place)
      const [earlier, later] = [await openSource(place), await openSource(place)]
      await earlier.begin(run('earlier'))
      await store.useOnce(note('before'))
      const begin = () => later.begin(run('later'))
      const write = () => change(place, `UPDATE client SET name = 'changed' WHERE client_id = 'job'`)
      const happened =
        kind === 'PostgreSQL'
          ? beforeQuery(/^DELETE FROM copy_change WHERE seq/, () => begin().then(write))
          : // Both are done when they return.
            beforeRead(/^DELETE FROM copy_change/, 1, () => void [begin(), write()])
      expect(await earlier.takeChanges('earlier', 100).catch(() => []), kind).toEqual([])
      expect(happened(), kind).toBe(true)
      expect(await later.takeChanges('later', 100), kind).toEqual([{ table: 'client', key: ['job'] }])
    }
  })

  it('takes away no trigger and no list of the later one when it cleans up on PostgreSQL', async () => {
    const { place } = await makeWorldOn('PostgreSQL')
    const [earlier, later] = [await openSource(place), await openSource(place)]
    await earlier.begin(run('earlier'))
    let begun: Promise<void> | undefined
    const happened = beforeQuery(/^DELETE FROM copy_change$/, async () => {
      begun = later.begin(run('later'))
      await settledOrWaiting(place, begun)
      await change(place, `UPDATE client SET name = 'changed' WHERE client_id = 'job'`)
    })
    await earlier.abandon('earlier')
    await begun
    expect(happened()).toBe(true)
    await change(place, `UPDATE client SET name = 'again' WHERE client_id = 'agent'`)
    expect((await later.takeChanges('later', 100)).map(({ key }) => key)).toContainEqual(['agent'])
    await later.lock('later')
    await later.rollback()
  })
})

describe('the fence', () => {
  it('is not relied on where a trigger is gone, or a newer version has changed the tables meanwhile', async () => {
    for (const kind of kinds) {
      const on = kind === 'PostgreSQL' ? ' ON client' : ''
      const names =
        kind === 'PostgreSQL' ? ['copy_guard', 'copy_log'] : ['copy_guard_client_UPDATE', 'copy_log_client_UPDATE']
      const changes = [
        ...names.map((name) => `DROP TRIGGER ${name}${on}`),
        ...(kind === 'PostgreSQL' ? ['ALTER TABLE client DISABLE TRIGGER copy_guard'] : []),
        `INSERT INTO migration VALUES (99, 'new', 0)`,
      ]
      const { place } = await makeWorldOn(kind)
      for (const statement of changes) {
        const source = await sourceAt(place)
        await source.begin(run('one'))
        await source.lock('one')
        await source.rollback()
        await change(place, statement)
        await expect(source.lock('one'), statement).rejects.toThrow('were changed while it was copied')
        await source.rollback()
        await source.abandon('one')
        await source.close()
      }
    }
  })

  it('stands although an autovacuum is in the way of the last transaction', { timeout: 60_000 }, async () => {
    const { place } = await makeWorldOn('PostgreSQL')
    const client = await connect(place.postgresUrl?.reveal() ?? '')
    await client.query(`INSERT INTO client_hour SELECT 'c' || i, 0, 0 FROM generate_series(1, 50000) i`)
    await client.query(`ALTER TABLE client_hour SET (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0,
      autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)`)
    await client.query(`DELETE FROM client_hour`)
    await client.query(`ALTER SYSTEM SET autovacuum_naptime = '1s'`)
    await client.query('SELECT pg_reload_conf()')
    const source = await openSource(place)
    await source.begin(run('one'))
    const isVacuumed = `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'autovacuum: VACUUM%client_hour%'`
    while ((await client.query(isVacuumed)).rows.length === 0) await new Promise((resolve) => setTimeout(resolve, 50))
    await source.lock('one')
    await source.rollback()
    await client.query('ALTER SYSTEM RESET autovacuum_naptime')
    await client.query('SELECT pg_reload_conf()')
  })
})

describe('the new place', () => {
  it('is no old copy for its witness when the process is killed as soon as it is open', async () => {
    const world = makeWorld()
    const to = world.file('there/new.db')
    const source = await sourceAt(world.place)
    const target = await targetAt(to)
    const witness = new Witness(world.witness)
    await copyStore(source, target, {
      clock: systemClock,
      actor: 'cli:test',
      witness: (id, known) => witness.raise(id, known),
    })
    // Nothing is closed, so nothing has brought the -wal into the file.
    cpSync(join(world.folder, 'there'), join(world.folder, 'killed'), { recursive: true })
    await target.close()
    await source.close()
    const place = world.file('killed/new.db')
    expect(await isLive(place, world.witness)).toBe(true)
    expect(await readContent(place)).toEqual(await readContent(world.place))
  })

  it('is called what it is when the process is killed before its -wal is in the file, and not an old copy', async () => {
    const world = makeWorld()
    const to = world.file('there/new.db')
    const source = await openSource(world.place)
    const target = await targetAt(to)
    // The first one is that of the file as it is made.
    const happened = beforeRead(/wal_checkpoint\(TRUNCATE\)/, 2, () => {
      cpSync(join(world.folder, 'there'), join(world.folder, 'killed'), { recursive: true })
    })
    await copyStore(source, target, { clock: systemClock, actor: 'cli:test', witness: async () => undefined })
    await target.close()
    expect(happened()).toBe(true)
    const killed = world.file('killed/new.db')
    const witness = { file: world.witness }
    for (const create of [true, false]) {
      await expect(openStoreAt(killed, { create, examine: true, witness })).rejects.toThrow(
        `${killed.databasePath} is an incomplete copy of ${world.place.databasePath}: run \`mayfly db copy\` from there to here again, which finishes it`,
      )
    }
  })

  it('stays closed when the old one was brought back while the copy was paused', async () => {
    for (const kind of kinds) {
      const world = await makeWorldOn(kind)
      const to = world.file('new.db')
      const source = await openSource(world.place)
      const target = await targetAt(to)
      const paused = new Proxy(source, {
        get: (side, name) => {
          const value: unknown = Reflect.get(side, name)
          if (typeof value !== 'function') return value
          return async (...args: unknown[]) => {
            const result: unknown = await value.apply(side, args)
            if (name !== 'leave') return result
            const store = await openStore(world.place, { evenIfMoved: true })
            return void (await store.acceptAsPresent({ registry: 0, mark: 0, issuedUpTo: 0 }, 'cli:test'))
          }
        },
      })
      const copy = copyStore(paused, target, { clock: systemClock, actor: 'cli:test', witness: async () => undefined })
      await expect(copy, kind).rejects.toThrow('is no longer moved away')
      await target.close()
      const other = join(world.folder, 'other.witness')
      expect([await isLive(world.place, other), await isLive(to, other)], kind).toEqual([true, false])
      // And what lies there is filled anew.
      expect((await world.move(world.place, to)).how, kind).toBe('copied')
    }
  })

  it('is not the old one by another name', async () => {
    const world = makeWorld()
    const store = await openStore(world.place)
    await store.createResource('https://new.example.test', { scopes: [] }, 'cli:test')
    const link = world.file('link.db')
    linkSync(world.place.databasePath, link.databasePath)
    await expect(world.move(world.place, link)).rejects.toThrow('by another name: give --to an empty place')
    expect(await store.check()).toEqual([])
  })
})

describe('a source that is behind its witness', () => {
  it('is not copied, also when it does not answer for a moment', async () => {
    const world = await makeWorldOn('PostgreSQL')
    await change(world.place, `UPDATE sequence SET value = value - 1 WHERE name = 'registry'`)
    const failure = Object.assign(new Error('canceled'), { severity: 'ERROR', code: '57014' })
    beforeQuery(/AS "movedTo"/, () => Promise.reject(failure))
    const { place: from, witness: witnessFile } = world
    const move = moveStore({
      from,
      to: world.file('new.db'),
      witnessFile,
      actor: 'cli:test',
      checkKeys: () => undefined,
    })
    await expect(move).rejects.toThrow('is an older copy of the database')
  })
})
