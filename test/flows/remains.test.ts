/** What `db check` and `doctor` say of a move that is not finished, in both places, and of what a restore has kept. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, it } from 'vitest'
import type { Finding } from '../../src/cli/doctor-checks.ts'
import type { StorePlace } from '../../src/store/open-store.ts'
import { readRemains } from '../../src/store/sqlite/remains.ts'
import { sourceAt, targetAt, useWorlds, type World, withStoreAt } from '../support/move.ts'
import { connect, password, placeOf, usePostgres } from '../support/postgres.ts'
import { mayfly, mayflyJson } from '../support/process.ts'

const postgres = usePostgres()
const makeWorld = useWorlds()
const kinds = ['SQLite', 'PostgreSQL'] as const

const emptyDatabase = async (): Promise<StorePlace> => placeOf(await postgres().makeDatabase({ empty: true }))

async function makeWorldOn(kind: (typeof kinds)[number]): Promise<World> {
  return kind === 'SQLite' ? makeWorld() : withStoreAt(makeWorld(), await emptyDatabase())
}

/** How a command is run on a place. */
const at = ({ folder }: World, { databasePath, postgresUrl }: StorePlace) => ({
  cwd: folder,
  env: { MAYFLY_DATABASE_URL: postgresUrl?.reveal() ?? `file:${databasePath}` },
})

async function examine(world: World, place: StorePlace): Promise<readonly Finding[]> {
  const { code, stdout, stderr } = await mayfly(['doctor', '--json'], at(world, place))
  expect(code, stderr + stdout).toBe(0)
  const findings = JSON.parse(stdout) as Finding[]
  return findings.filter(({ check }) => check === 'database')
}

const mark = { copyId: 'run', storeId: 'any', other: 'elsewhere', at: 1_700_000_000_000 }

describe.each(kinds)('a move from %s that is not finished', (kind) => {
  it('is named by db check and doctor while the store still lives here, and both end well', async () => {
    const world = await makeWorldOn(kind)
    const { place } = world
    const whole = { status: 'ok', check: 'database', detail: `${place.databasePath} is whole` }
    expect(await mayflyJson(['db', 'check'], at(world, place))).toMatchObject({ ok: true, unfinished_copy: null })
    expect(await examine(world, place)).toEqual([whole])
    const source = await sourceAt(place)
    await source.begin(mark)
    await source.close()
    const sentence =
      'a copy to elsewhere was begun at 2023-11-14T22:13:20.000Z and is not finished, so the database still lives here: unless that command still runs, run the same `mayfly db copy` again, or go on without it'
    expect(await mayflyJson(['db', 'check'], at(world, place))).toMatchObject({ ok: true, unfinished_copy: sentence })
    expect(await examine(world, place)).toEqual([whole, { status: 'warning', check: 'database', detail: sentence }])
  })

  it('is the one thing that they say of a place that was fenced, and of one that is not filled', async () => {
    const world = await makeWorldOn(kind)
    const { place } = world
    const source = await sourceAt(place)
    await source.begin(mark)
    await source.lock('run')
    await source.leave('run', 'event')
    await source.close()
    const half = kind === 'SQLite' ? world.file('half.db') : await emptyDatabase()
    const target = await targetAt(half)
    await target.prepare(mark)
    await target.close()
    for (const command of [['db', 'check'], ['doctor']]) {
      const fenced = await mayfly(command, at(world, place))
      expect([fenced.code, fenced.stdout]).toEqual([1, ''])
      expect(fenced.stderr).toMatch(
        /has moved to elsewhere, at 2023-\S+: give MAYFLY_DATABASE_URL that place, and where that is called incomplete, run the same `\S* ?\S* ?mayfly db copy` again;/,
      )
      const unfilled = await mayfly(command, at(world, half))
      expect([unfilled.code, unfilled.stdout]).toEqual([1, ''])
      expect(unfilled.stderr).toMatch(
        /is an incomplete copy of elsewhere: run `[^`]*db copy` from there to here again;/,
      )
      expect(fenced.stderr + unfilled.stderr).not.toContain(password)
    }
  })
})

describe('doctor after a restore', () => {
  it('names the schema that PostgreSQL keeps of before, its size, and a statement that is right', async () => {
    const world = await makeWorldOn('PostgreSQL')
    const { place } = world
    await mayflyJson(['db', 'backup', 'backup.db'], at(world, place))
    await mayflyJson(['db', 'restore', 'backup.db'], at(world, place))
    const [, kept] = await examine(world, place)
    expect(kept?.status).toBe('warning')
    const words =
      /^the schema (before_restore_\d{17}) \(\d+\.\d KB\) is what `[^`]*db restore` replaced, with keys and audit trail of then: when nobody has to look something up in it, `(DROP SCHEMA before_restore_\d+ CASCADE)` in psql$/.exec(
        kept?.detail ?? '',
      )
    expect(words?.[1], kept?.detail).toBeDefined()
    const client = await connect(place.postgresUrl?.reveal() ?? '')
    await client.query(words?.[2] ?? '')
    expect(await examine(world, place)).toMatchObject([{ status: 'ok' }])
  })

  it('names the file that lies beside a SQLite database since, until it is gone', async () => {
    const world = makeWorld()
    await mayflyJson(['db', 'backup', 'backup.db'], at(world, world.place))
    const { replaced } = await mayflyJson<{ replaced: string }>(['db', 'restore', 'backup.db'], at(world, world.place))
    expect(existsSync(replaced)).toBe(true)
    const [, kept] = await examine(world, world.place)
    expect(kept).toMatchObject({ status: 'warning', detail: expect.stringContaining(`${replaced} (`) as string })
    expect(kept?.detail).toMatch(/remove the file$/)
  })
})

it('what is in the file is said where its folder cannot be listed', async () => {
  const { place, folder } = makeWorld()
  const source = await sourceAt(place)
  await source.begin(mark)
  await source.close()
  const sqlite = new Database(place.databasePath)
  try {
    expect(readRemains(sqlite, join(folder, 'not-there', 'mayfly.db'))).toEqual([
      { kind: 'copy', to: 'elsewhere', at: mark.at, isAbandoned: false },
    ])
  } finally {
    sqlite.close()
  }
})
