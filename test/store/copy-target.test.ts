/** A place that a store is to arrive at: from its first moment on it says so, whoever comes by. */
import { existsSync, linkSync, mkdirSync, readdirSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { CopyMark, CopyTarget } from '../../src/store/copy/sides.ts'
import { openStoreAt, type StorePlace } from '../../src/store/open-store.ts'
import { beforeQuery, beforeRead } from '../support/between.ts'
import { readContent } from '../support/content.ts'
import { look } from '../support/killed-move.ts'
import { targetAt, useWorlds } from '../support/move.ts'
import { connect, placeOf, usePostgres } from '../support/postgres.ts'

const postgres = usePostgres()
const makeWorld = useWorlds()
const kinds = ['SQLite', 'PostgreSQL'] as const
const mark: CopyMark = { copyId: 'run', storeId: 'any', other: 'elsewhere', at: 0 }

const emptyDatabase = async (): Promise<StorePlace> => placeOf(await postgres().makeDatabase({ empty: true }))

async function emptyPlace(kind: (typeof kinds)[number]): Promise<StorePlace> {
  return kind === 'SQLite' ? makeWorld().file('there/new.db') : emptyDatabase()
}

async function openTarget(place: StorePlace): Promise<CopyTarget> {
  const target = await targetAt(place)
  onTestFinished(() => target.close())
  return target
}

/** As `serve` and `db migrate` open it. */
const claim = (place: StorePlace) => openStoreAt(place, { create: true, examine: true })

/** A statement of somebody who goes past the program. */
async function change({ databasePath, postgresUrl }: StorePlace, statement: string): Promise<void> {
  if (postgresUrl !== undefined) return void (await (await connect(postgresUrl.reveal())).query(statement))
  const sqlite = new Database(databasePath)
  sqlite.exec(statement)
  sqlite.close()
}

describe('a place that a copy was begun into', () => {
  it.each(kinds)('is claimed by nobody once it has tables, and the sentence says what to do: %s', async (kind) => {
    const place = await emptyPlace(kind)
    const target = await openTarget(place)
    await target.prepare(mark)
    await target.close()
    expect(await look(place)).toBe('arriving')
    for (const create of [true, false]) {
      await expect(openStoreAt(place, { create, examine: false })).rejects.toThrow(
        `${place.databasePath} is an incomplete copy of elsewhere: run \`mayfly db copy\` from there to here again; to begin without it, name another place, or remove what lies here first`,
      )
    }
  })

  it('has its tables and its mark in one commit on PostgreSQL', async () => {
    const place = await emptyDatabase()
    const target = await openTarget(place)
    const seen: string[] = []
    const happened = beforeQuery(/^COMMIT$/, async () => {
      const { rows } = await (await connect(place.postgresUrl?.reveal() ?? '')).query(
        `SELECT count(*)::int AS made FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace`,
      )
      seen.push(`${rows[0]?.made} tables`)
    })
    await target.prepare(mark)
    await target.close()
    expect(happened()).toBe(true)
    expect([...seen, await look(place)]).toEqual(['0 tables', 'arriving'])
  })

  it('appears as a file with its mark in it, at whichever statement its maker dies', async () => {
    const world = makeWorld()
    let reads = 0
    for (let isBeing = true; isBeing; ) {
      reads += 1
      const place = world.file(`${reads}/new.db`)
      const target = await openTarget(place)
      let [found, isOver] = ['', false]
      const happened = beforeRead(/./, reads, () => {
        if (isOver) return
        found = existsSync(place.databasePath) ? 'there' : 'absent'
        throw new Error('killed')
      })
      await target.prepare(mark).catch(() => undefined)
      isBeing = happened()
      isOver = true
      if (found === 'there' || !isBeing)
        await expect(claim(place)).rejects.toThrow('is an incomplete copy of elsewhere')
      else expect(existsSync(place.databasePath)).toBe(false)
    }
    expect(reads).toBeGreaterThan(10)
  })

  it('is marked in the transaction that makes its tables where an empty file lay before, and leaves nothing beside it', async () => {
    const world = makeWorld()
    const place = world.file('empty.db')
    writeFileSync(place.databasePath, '')
    const target = await openTarget(place)
    await target.prepare(mark)
    await target.close()
    await expect(claim(place)).rejects.toThrow('is an incomplete copy of elsewhere')
    expect(readdirSync(world.folder).filter((name) => name.includes('empty.db.'))).toEqual([])
  })

  it('is not put in the place of a link that leads to where nothing is', async () => {
    const world = makeWorld()
    const place = world.file('there/new.db')
    mkdirSync(dirname(place.databasePath))
    symlinkSync(join(world.folder, 'other-disk.db'), place.databasePath)
    const target = await openTarget(place)
    await expect(target.prepare(mark)).rejects.toThrow('is a link to where nothing is: give the path that it leads to')
    expect(readdirSync(dirname(place.databasePath))).toEqual(['new.db'])
    expect(readlinkSync(place.databasePath)).toBe(join(world.folder, 'other-disk.db'))
  })

  it('has one name, also where its maker died as it had two', async () => {
    const place = makeWorld().file('there/new.db')
    const first = await openTarget(place)
    await first.prepare(mark)
    await first.close()
    linkSync(place.databasePath, `${place.databasePath}.copy-0123456789ab.tmp`)
    const next = await openTarget(place)
    await next.prepare(mark)
    await next.close()
    expect(readdirSync(dirname(place.databasePath))).toEqual(['new.db'])
    expect(await look(place)).toBe('arriving')
  })

  it.each(kinds)('is claimed neither by a server that had it open while it was empty: %s', async (kind) => {
    const place = await emptyPlace(kind)
    const server = await claim(place)
    onTestFinished(() => server.close())
    const target = await openTarget(place)
    await target.prepare(mark)
    await expect(change(place, `INSERT INTO installation (id, store_id) VALUES (1, 'new')`)).rejects.toThrow(
      'the database is an incomplete copy of elsewhere',
    )
  })

  it.each(kinds)('is not brought up to date where it is an older store with something in it: %s', async (kind) => {
    const world = makeWorld()
    const place = kind === 'SQLite' ? world.place : await emptyDatabase()
    if (kind === 'PostgreSQL') await world.move(world.place, place)
    await change(place, 'DROP TABLE copy_state; DROP TABLE copy_change')
    await change(place, `DELETE FROM migration WHERE position = (SELECT max(position) FROM migration)`)
    const before = await readContent(place)
    const target = await openTarget(place)
    await expect(target.prepare(mark)).rejects.toThrow(`${place.databasePath} is not empty: give --to an empty place`)
    await target.close()
    expect(await readContent(place)).toEqual(before)
    expect(await look(place)).toBe('absent')
  })

  it('is refused without a lock where it is a database that others work on', async () => {
    const world = makeWorld()
    const place = await emptyDatabase()
    await world.move(world.place, place)
    const worker = await connect(place.postgresUrl?.reveal() ?? '')
    await worker.query('BEGIN; LOCK TABLE installation, copy_state IN ROW EXCLUSIVE MODE')
    const target = await openTarget(place)
    await expect(target.prepare(mark)).rejects.toThrow('is not empty: give --to an empty place')
  })

  it('stays as it is where the store has moved elsewhere before: nothing is made there', async () => {
    const world = makeWorld()
    await world.move(world.place, world.file('new.db'))
    const [file, database] = [world.file('wrong/typed.db'), await emptyDatabase()]
    for (const place of [file, database]) await expect(world.move(world.place, place)).rejects.toThrow('has moved to')
    expect(existsSync(join(world.folder, 'wrong'))).toBe(false)
    expect(await look(database)).toBe('absent')
    expect(await readContent(database)).toEqual({})
  })
})
