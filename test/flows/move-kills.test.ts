/**
 * A database that moves while a server issues from it, by the command as its user runs it, which is killed by SIGKILL: what
 * the clients of that server have seen, and what is in both places then and after the next run.
 */
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parseSettings } from '../../src/config/settings.ts'
import { moveStore, openStoreAt } from '../../src/store/open-store.ts'
import { makeTestKey } from '../support/assertion.ts'
import { fillFile, readContent } from '../support/content.ts'
import { type Installation, makeInstallation } from '../support/installation.ts'
import { type Course, chooseKill, type Found, look, runKilled, runWhole } from '../support/killed-move.ts'
import { Onlookers } from '../support/onlookers.ts'
import { usePostgres } from '../support/postgres.ts'
import { createRandom, repetitions, seed } from '../support/seed.ts'
import { addKeyClient, request, requestToken, startTestServer, type TestServer } from '../support/server.ts'

const kills = repetitions('COPY_KILLS', 2)
const postgres = usePostgres()
const key = makeTestKey()
const env = { MAYFLY_ISSUER: 'http://127.0.0.1:9', MAYFLY_PORT: '0', MAYFLY_LOG_LEVEL: 'silent' }
let template: Installation

beforeAll(async () => {
  template = await makeInstallation(mkdtempSync(join(tmpdir(), 'mayfly-kills-')))
  fillFile(template.place, createRandom(6), 40)
  const sqlite = new Database(template.place)
  // Numbers by which a server judges what is new, or dead, are not drawn.
  sqlite.exec(`DELETE FROM mark; DELETE FROM sequence WHERE name = 'family_moment'`)
  sqlite.close()
  const store = await openStoreAt({ databasePath: template.place }, { create: false, examine: false })
  await addKeyClient(store, 'keyed', [key])
  await store.close()
})

afterAll(() => rmSync(template.cwd, { recursive: true, force: true }))

/** A place to move from, and an empty one. */
interface Places {
  readonly cwd: string
  readonly from: string
  readonly to: string
  remove(): Promise<void>
}

const nameOf = (url: string): string => url.split('/').at(-1) ?? ''
const placeOf = (cwd: string, url: string) => parseSettings({ MAYFLY_DATABASE_URL: url }, cwd)

function copyTemplate(from = template.cwd): string {
  const cwd = mkdtempSync(join(tmpdir(), 'mayfly-kill-'))
  cpSync(from, cwd, { recursive: true })
  return cwd
}

async function fromFile(): Promise<() => Promise<Places>> {
  return async () => {
    const [cwd, to] = [copyTemplate(), await postgres().makeDatabase({ empty: true })]
    const remove = async (): Promise<void> => {
      rmSync(cwd, { recursive: true, force: true })
      await postgres().query('postgres', `DROP DATABASE ${nameOf(to)} WITH (FORCE)`)
    }
    return { cwd, from: `file:${join(cwd, 'data/mayfly.db')}`, to, remove }
  }
}

async function fromDatabase(): Promise<() => Promise<Places>> {
  const moved = copyTemplate()
  const first = await postgres().makeDatabase({ empty: true })
  const [from, to] = [placeOf(moved, `file:${join(moved, 'data/mayfly.db')}`), placeOf(moved, first)]
  await moveStore({ from, to, witnessFile: from.witnessFile, actor: 'cli:test', checkKeys: () => undefined })
  return async () => {
    const [cwd, database] = [copyTemplate(moved), await postgres().cloneDatabase(first)]
    rmSync(join(cwd, 'data'), { recursive: true })
    const remove = async (): Promise<void> => {
      rmSync(cwd, { recursive: true, force: true })
      await postgres().query('postgres', `DROP DATABASE ${nameOf(database)} WITH (FORCE)`)
    }
    return { cwd, from: database, to: `file:${join(cwd, 'new/mayfly.db')}`, remove }
  }
}

const serveAt = (cwd: string, url: string): Promise<TestServer> =>
  startTestServer({ folder: cwd, env: { ...env, MAYFLY_DATABASE_URL: url } })

const askers = () => ({
  issuer: env.MAYFLY_ISSUER,
  job: template.authorization,
  agent: template.agentAuthorization,
  key,
})

/** The next run of the command, by what the one before it has left. */
const outcomes: Readonly<Record<string, string>> = {
  'live absent': 'copied',
  'live arriving': 'copied',
  'leaving arriving': 'copied',
  'leaving arrived': 'copied',
  'left arrived': 'resumed',
  'left live': 'already',
}

async function moves({ cwd, url }: { readonly cwd: string; readonly url: string }): Promise<number> {
  const store = await openStoreAt(placeOf(cwd, url), { create: false, examine: false, evenIfMoved: true })
  const { length } = await store.listAudit({ type: 'store.copied', limit: 10 })
  await store.close()
  return length
}

/** The old place serves, or the new one may: what a decision of the copy promises of the moment of the kill. */
async function expectOneHome({ cwd, to }: Places, server: TestServer, [here, there]: readonly [Found, Found]) {
  const asked = await requestToken(
    server,
    { grant_type: 'client_credentials' },
    { authorization: template.authorization },
  )
  expect(asked.status).toBe(here === 'left' ? 503 : 200)
  expect((await request(`${server.url}/.well-known/jwks.json`)).status).toBe(200)
  if (there === 'absent') return
  const open = openStoreAt(placeOf(cwd, to), {
    create: true,
    examine: true,
    witness: { file: server.settings.witnessFile },
  })
  const material = await open.then(
    async (store) => {
      const found = await store.readKeys()
      await store.close()
      return found
    },
    (error: Error) => {
      expect(error.message).toMatch(/is an incomplete copy of .*: run `mayfly db copy`/)
      return undefined
    },
  )
  expect(material !== undefined).toBe(there === 'live')
}

/** One move: killed, looked at, and run again. @returns what the kill has left; `undefined` when it came too late */
async function moveAndKill(places: Places, number: number, course: Course): Promise<string | undefined> {
  const { cwd, from, to } = places
  const old = await serveAt(cwd, from)
  const movesBefore = await moves({ cwd, url: from })
  const onlookers = await Onlookers.start(old, askers(), createRandom(100 + number))
  const kill = chooseKill(number, course, createRandom(1000 + number))
  const killed = await runKilled(places, kill)
  const said = `${JSON.stringify(kill)} ${killed.stderr}`
  expect([killed.code, killed.signal], said).toEqual(killed.code === 0 ? [0, null] : [null, 'SIGKILL'])
  const found = [await look(placeOf(cwd, from)), await look(placeOf(cwd, to))] as const
  expect(Object.keys(outcomes), said).toContain(found.join(' '))
  await expectOneHome(places, old, found)
  const again = await runKilled(places, { afterMilliseconds: 120_000 })
  expect(again.code, said + again.stderr).toBe(0)
  expect(JSON.parse(again.stdout).outcome, said).toBe(outcomes[found.join(' ')])
  await onlookers.stop()
  expect([await look(placeOf(cwd, from)), await look(placeOf(cwd, to))]).toEqual(['left', 'live'])
  expect(await readContent(placeOf(cwd, to)), said).toEqual(await readContent(placeOf(cwd, from)))
  expect(await moves({ cwd, url: to })).toBe(movesBefore + 1)
  const there = await serveAt(cwd, to)
  await onlookers.expectServed(there)
  expect(await there.store.check()).toEqual([])
  await Promise.all([old.stop(), there.stop()])
  await places.remove()
  return killed.code === 0 ? undefined : found.join(' ')
}

describe(`a move by the command, killed by SIGKILL while clients ask (seed ${seed})`, () => {
  for (const [direction, prepare] of [
    ['SQLite to PostgreSQL', fromFile],
    ['PostgreSQL to SQLite', fromDatabase],
  ] as const) {
    it(`lives in one place, and is whole in the new one after the next run: ${direction}`, async () => {
      const makePlaces = await prepare()
      const places = await makePlaces()
      const course = await runWhole(places)
      expect(course.finished.code, course.finished.stderr).toBe(0)
      await places.remove()
      const seen = new Map<string, number>()
      for (let [number, killed] = [0, 0]; killed < kills; number += 1) {
        const left = await moveAndKill(await makePlaces(), number, course)
        if (left === undefined) continue
        killed += 1
        seen.set(left, (seen.get(left) ?? 0) + 1)
        if (kills > 20)
          process.stdout.write(`${direction}: ${killed} kills, ${JSON.stringify(Object.fromEntries(seen))}\n`)
      }
      // A long run comes by what only the next one can finish.
      if (kills >= 30) expect([...seen.keys()]).toContain('left arrived')
      expect([...seen.values()].reduce((sum, count) => sum + count)).toBe(kills)
    }, 7_200_000)
  }
})
