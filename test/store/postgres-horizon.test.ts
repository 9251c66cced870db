/** How far a node knows what others have done: looks, their age, and hints. */
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { Secret } from '../../src/lib/secret.ts'
import { SharedClock } from '../../src/lib/shared-clock.ts'
import { StoreUnavailable } from '../../src/lib/store-error.ts'
import { openStoreAt } from '../../src/store/open-store.ts'
import { Database } from '../../src/store/postgres/database.ts'
import { Horizon, recentMilliseconds } from '../../src/store/postgres/horizon.ts'
import { Watcher } from '../../src/store/postgres/watcher.ts'
import type { Store } from '../../src/store/store.ts'
import { ManualClock } from '../support/clock.ts'
import { connect, placeOf, usePostgres } from '../support/postgres.ts'
import { addResource, api } from '../support/registry.ts'
import { ReplyDropper } from '../support/reply-dropper.ts'

const postgres = usePostgres()
const by = 'cli:test'

/** A horizon whose stopwatch stands still, on a database that somebody else changes. */
async function start() {
  const direct = await postgres().makeDatabase()
  const { dropper, url } = await ReplyDropper.before(direct)
  const database = new Database(new Secret(url))
  const [machine, stopwatch] = [new ManualClock(Date.now()), new ManualClock()]
  const clock = new SharedClock(machine)
  const horizon = new Horizon({ database, clock, stopwatch })
  onTestFinished(async () => {
    dropper.release()
    await horizon.stop()
    await database.close()
  })
  const raw = await connect(direct)
  const move = (name: 'registry' | 'mark') => raw.query(`UPDATE sequence SET value = value + 1 WHERE name = '${name}'`)
  return { direct, dropper, database, horizon, clock, machine, stopwatch, raw, move }
}

const endOthers = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
  WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'`

/** Resolves when something is so. */
async function until(is: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await is())) await new Promise((resolve) => setTimeout(resolve, 2))
}

const wait = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))

describe('what was so a moment ago', () => {
  it('is not known before somebody has looked, and is then, both counters as of one moment', async () => {
    const { horizon, move } = await start()
    expect(horizon.recent()).toBeUndefined()
    expect(Number.isNaN(horizon.ageSeconds)).toBe(true)
    expect(await horizon.read()).toEqual({ registry: 0, mark: 0 })
    await move('registry')
    await move('mark')
    expect(horizon.recent()).toEqual({ registry: 0, mark: 0 })
    expect(await horizon.read()).toEqual({ registry: 1, mark: 1 })
    expect(horizon.recent()).toEqual({ registry: 1, mark: 1 })
  })

  it('is forgotten when it is old, also in a process that was paused, and on a machine that slept or whose date was changed', async () => {
    const { horizon, stopwatch } = await start()
    await horizon.read()
    stopwatch.advance((recentMilliseconds - 1) / 1000)
    expect(horizon.recent()).toBeDefined()
    stopwatch.advance(0.001)
    expect(horizon.recent()).toBeUndefined()
    // Nothing revives it.
    stopwatch.step(-recentMilliseconds / 1000)
    expect(horizon.recent()).toBeUndefined()
    for (const seconds of [3600, -3600]) {
      await horizon.read()
      stopwatch.step(seconds)
      expect(horizon.recent()).toBeUndefined()
    }
  })

  it('is as old as the question, not as the answer', async () => {
    const { horizon, stopwatch, dropper } = await start()
    await horizon.read()
    dropper.hold()
    const read = horizon.read()
    await wait(20)
    stopwatch.advance(recentMilliseconds / 1000)
    dropper.release()
    expect(await read).toEqual({ registry: 0, mark: 0 })
    expect(horizon.recent()).toBeUndefined()
  })

  it('is forgotten when this process changes something, and a look that was under way then is not kept', async () => {
    const { horizon, dropper, stopwatch } = await start()
    await horizon.read()
    horizon.forget()
    expect(horizon.recent()).toBeUndefined()
    // Whoever watches it must not lose sight of a database that is away as soon as somebody tries to change something.
    stopwatch.advance(3)
    expect(horizon.ageSeconds).toBeCloseTo(3)
    dropper.hold()
    const read = horizon.read()
    await wait(20)
    horizon.forget()
    dropper.release()
    await read
    expect(horizon.recent()).toBeUndefined()
    await horizon.read()
    expect(horizon.recent()).toBeDefined()
  })

  it('F24 is not made up when the database keeps silent: whoever asks hears of it, within a second', async () => {
    const { horizon, dropper, stopwatch } = await start()
    await horizon.read()
    dropper.hold()
    stopwatch.advance(1)
    const began = performance.now()
    await expect(horizon.read()).rejects.toBeInstanceOf(StoreUnavailable)
    expect(performance.now() - began).toBeLessThan(1_500)
    expect(horizon.recent()).toBeUndefined()
  })
})

describe('a server that follows', () => {
  it('F25 finds what nobody tells it of, also when its connection was ended', async () => {
    const { horizon, raw, move, stopwatch } = await start()
    horizon.follow()
    for (const registry of [0, 1, 2]) {
      if (registry > 0) await move('registry')
      // Only what is looked at from now on is recent.
      stopwatch.advance(10)
      await until(() => horizon.recent()?.registry === registry)
      await raw.query(endOthers)
    }
  })

  it('F25 hears of a change when it is told, and again on its next connection when it has lost one', async () => {
    const { database, raw } = await start()
    let hints = 0
    const watcher = new Watcher(database, () => {
      hints += 1
    })
    onTestFinished(() => watcher.close())
    expect(await watcher.ask({ text: 'SELECT 1' })).toBeUndefined()
    for (const round of [1, 2]) {
      await until(async () => {
        watcher.open()
        return (await watcher.ask({ text: 'SELECT 1 AS one' }))?.[0]?.one === 1
      })
      await raw.query('NOTIFY mayfly')
      await until(() => hints === round)
      await raw.query(endOthers)
      await until(async () => (await watcher.ask({ text: 'SELECT 1' })) === undefined)
    }
  })

  it('looks on while all connections of the pool are in use, and while others wait for them', async () => {
    const { database, horizon, stopwatch, move } = await start()
    horizon.follow()
    await until(() => horizon.recent() !== undefined)
    // Its own connection is there when a look succeeds with none left in the pool.
    const free = Promise.withResolvers<void>()
    const holds = Array.from({ length: database.use.limit }, () => database.lend(() => free.promise))
    const waits = database.read({ text: 'SELECT 1' })
    await until(() => database.use.inUse === database.use.limit && database.use.waiting > 0)
    expect(database.use.idle).toBe(0)
    await move('mark')
    stopwatch.advance(10)
    await until(() => horizon.recent()?.mark === 1)
    free.resolve()
    await Promise.all([...holds, waits])
    expect(database.use.waiting).toBe(0)
  })

  it('finds again by itself what was away', async () => {
    const { horizon, dropper, stopwatch, move } = await start()
    horizon.follow()
    await until(() => horizon.recent() !== undefined)
    dropper.hold()
    await move('registry')
    stopwatch.advance(10)
    await wait(50)
    expect(horizon.recent()).toBeUndefined()
    dropper.release()
    await until(() => horizon.recent()?.registry === 1)
  })

  it('tells what time the database has', async () => {
    const { horizon, clock, machine } = await start()
    machine.step(90)
    await horizon.read()
    expect(clock.isOff).toBe(false)
    await horizon.compareClocks()
    expect(clock.isOff).toBe(true)
    expect(Math.abs(clock.offsetMilliseconds - 90_000)).toBeLessThan(10_000)
  })
})

describe('a server that comes back as a replica of the one that has taken its place', () => {
  it('F21 I6 is not believed, however often it is asked, and is when it is the primary again', {
    timeout: 60_000,
  }, async () => {
    const { direct, horizon, stopwatch } = await start()
    const name = new URL(direct).pathname.slice(1)
    const [row] = await postgres().query(name, 'SHOW data_directory')
    const signal = join(String(row?.data_directory), 'standby.signal')
    expect(await horizon.read()).toEqual({ registry: 0, mark: 0 })
    await postgres().stop()
    writeFileSync(signal, '')
    chmodSync(signal, 0o666)
    // Resolves when it takes writes.
    const promoted = postgres().start()
    const isUp = () =>
      postgres()
        .query(name, 'SELECT 1')
        .then(
          () => true,
          () => false,
        )
    await until(isUp)
    stopwatch.advance(10)
    try {
      for (const _ of [1, 2]) await expect(horizon.read()).rejects.toThrow('the database is a replica')
      expect(horizon.recent()).toBeUndefined()
    } finally {
      await postgres().query(name, 'SELECT pg_promote()')
      await promoted
    }
    expect(await horizon.read()).toEqual({ registry: 0, mark: 0 })
  })
})

/** It may know; it may know for a while what was so before; and then it must not say that any more. */
async function expectHeard(hearer: Store, change: number): Promise<void> {
  const returned = performance.now()
  for (;;) {
    const asked = performance.now()
    const recent = hearer.recentSequences()
    if (recent?.registry === change) return
    if (asked - returned >= recentMilliseconds) expect(recent).toBeUndefined()
    await new Promise((resolve) => setImmediate(resolve))
  }
}

describe('a store that changes something', () => {
  async function openBoth(): Promise<readonly [Store, Store]> {
    const place = placeOf(await postgres().makeDatabase())
    const open = async (): Promise<Store> => {
      const store = await openStoreAt(place, { create: false, examine: false })
      onTestFinished(() => store.close())
      await store.follow({ comparesClocks: true })
      return store
    }
    return [await open(), await open()]
  }

  it('I6 knows of it at once, and others within the bound', async () => {
    const [one, other] = await openBoth()
    for (let change = 1; change <= 20; change += 1) {
      const [changer, hearer] = change % 2 === 0 ? [one, other] : [other, one]
      if (change === 1) await addResource(changer)
      else await changer.updateResource(api, { name: `name ${change}` }, by)
      expect(changer.recentSequences() ?? { registry: change }).toMatchObject({ registry: change })
      await expectHeard(hearer, change)
    }
  })

  it('I6 remembers nothing where a node has several processes: the next request may come to another of them', async () => {
    const place = placeOf(await postgres().makeDatabase())
    const store = await openStoreAt(place, { create: false, examine: false, processes: 2 })
    onTestFinished(() => store.close())
    await store.follow({ comparesClocks: true })
    expect(await store.readSequences()).toEqual({ registry: 0, mark: 0 })
    expect(store.recentSequences()).toBeUndefined()
  })

  it('knows nothing of it when nobody can tell whether it happened', async () => {
    const direct = await postgres().makeDatabase()
    const { dropper, url } = await ReplyDropper.before(direct)
    const store = await openStoreAt(placeOf(url), { create: false, examine: false })
    onTestFinished(() => store.close())
    await store.readSequences()
    expect(store.recentSequences()).toBeDefined()
    dropper.dropNext(/COMMIT/)
    await addResource(store)
    expect(dropper.dropped).toBe(1)
    const recent = store.recentSequences()
    expect(recent === undefined || recent.registry === 1).toBe(true)
    expect(await store.readSequences()).toEqual({ registry: 1, mark: 0 })
  })
})
