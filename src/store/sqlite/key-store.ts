import type {
  FirstKeys,
  KeyMaterial,
  KeyStore,
  RememberedTiming,
  RingChange,
  RootReplacement,
} from '../../key/key-store.ts'
import type { RingMark, RingMoment } from '../../key/ring-clock.ts'
import type { WrappedRootKey } from '../../key/root-key.ts'
import { nodeSkewMilliseconds } from '../../token/mark-store.ts'
import {
  erasedHalf,
  falseIfMoved,
  haveSameVersions,
  type KeyEvent,
  keyEventOf,
  lateMilliseconds,
  momentOf,
  publishedStates,
  RingMoved,
  toKeyFacts,
  toKeyRow,
  toSigningKey,
} from '../rows/key-rows.ts'
import { type Changed, type Connection, read } from './connection.ts'
import { and, asc, eq, inArray, notInArray, sql } from './drizzle.ts'
import { installation, ringMark, rootKey, signingKey } from './schema.ts'

export function createKeyStore(connection: Connection): KeyStore {
  const { db, acts, clock } = connection
  const selectInstallation = db.select().from(installation).prepare()
  const selectRoots = db.select().from(rootKey).orderBy(asc(rootKey.version)).prepare()
  const selectMark = db.select().from(ringMark).prepare()
  const selectPublished = db
    .select()
    .from(signingKey)
    .where(inArray(signingKey.state, publishedStates))
    .orderBy(asc(signingKey.createdAt), asc(signingKey.kid))
    .prepare()

  const readMark = (): RingMark => {
    const { highWater = 0, running = 0, resets = 0 } = selectMark.get() ?? {}
    return { highWater, running, resets }
  }

  const readKeys = (): KeyMaterial | undefined => {
    const row = selectInstallation.get()
    if (row === undefined) return undefined
    const { storeId } = row
    const rootKeys = selectRoots.all().map(({ version, wrapped }) => ({ version, wrapped }))
    return { storeId, rootKeys, signingKeys: selectPublished.all().map(toSigningKey), ringMark: readMark() }
  }

  const claim = (keys: FirstKeys): Changed<boolean> => {
    if (selectInstallation.get() !== undefined) return { value: false, events: [] }
    const createdAt = clock.nowMilliseconds()
    const { storeId } = keys
    db.insert(installation).values({ id: 1, storeId, createdAt }).run()
    for (const { version, wrapped } of keys.rootKeys) {
      db.insert(rootKey)
        .values({ version, wrapped: Buffer.from(wrapped), createdAt })
        .run()
    }
    for (const key of keys.signingKeys) db.insert(signingKey).values(toKeyRow(key)).run()
    // A first start whose clock is far ahead must not look right to those who come after.
    const highWater = Math.max(0, ...keys.signingKeys.map((key) => key.publishedAt))
    raiseMark({ highWater, running: 0, resets: readMark().resets })
    return {
      value: true,
      events: [
        { type: 'store.claimed', storeId },
        ...keys.signingKeys.map(({ kid, alg, state }) => ({
          type: state === 'active' ? ('key.activated' as const) : ('key.staged' as const),
          kid,
          detail: { alg },
        })),
      ],
    }
  }

  const move = ({ kid, from, to }: RingChange['moves'][number], at: RingMoment, { reason }: RingChange): KeyEvent => {
    const { changes } = db
      .update(signingKey)
      .set({ state: to, ...momentOf(to, at) })
      .where(and(eq(signingKey.kid, kid), eq(signingKey.state, from)))
      .run()
    if (changes !== 1) throw new RingMoved()
    return { type: keyEventOf[to], kid, detail: { from, reason } }
  }

  const add = (
    key: RingChange['adds'][number],
    at: RingMoment,
    { timing, reason, cachedSeconds, maxAgeSeconds }: RingChange & { cachedSeconds: number; maxAgeSeconds: number },
  ): KeyEvent => {
    const { kid, alg, state } = key
    if (
      db
        .select()
        .from(signingKey)
        .where(and(eq(signingKey.alg, alg), eq(signingKey.state, state)))
        .get()
    ) {
      throw new RingMoved()
    }
    const row = toKeyRow({
      ...key,
      createdAt: at.now,
      publishedAt: at.now,
      publishedRunning: at.running,
      cachedSeconds,
      maxTtlSeconds: timing.accessTokenMaxTtlSeconds,
      maxAgeSeconds,
      ...(state === 'active' ? { activatedAt: at.now } : {}),
    })
    db.insert(signingKey).values(row).run()
    return { type: keyEventOf[state], kid, detail: { alg, reason } }
  }

  const changeRing = (asked: RingChange, since: number): Changed<boolean> => {
    const mark = readMark()
    if (isLate(since) || asked.at.resets !== mark.resets) throw new RingMoved()
    // Another process may have counted further: what begins now begins after all that anybody has counted.
    const change = { ...asked, at: { ...asked.at, running: Math.max(asked.at.running, mark.running) } }
    // What was published until now may be cached for so long.
    const ages = selectPublished.all().map((key) => key.maxAgeSeconds)
    const cachedSeconds = Math.max(change.timing.jwksMaxAgeSeconds, ...ages)
    // Keys that leave before their time hand on what they remember: those copies may outlive the next change too.
    const isEmergency = change.moves.some(({ to }) => to === 'compromised')
    const maxAgeSeconds = isEmergency ? cachedSeconds : change.timing.jwksMaxAgeSeconds
    const { at } = change
    const moved = change.moves.map((each) => move(each, at, change))
    const added = change.adds.map((each) => add(each, at, { ...change, cachedSeconds, maxAgeSeconds }))
    // No calendar shall ever be before what it has stamped, and every process counts running time from here.
    raiseMark({ highWater: at.now, running: at.running, resets: at.resets })
    return { value: true, events: [...moved, ...added] }
  }

  const isLate = (since: number): boolean => clock.monotonicMilliseconds() - since > lateMilliseconds

  const raiseMark = ({ highWater, running, resets }: RingMark): void => {
    // Whoever has not heard of a reset yet must not undo it.
    db.update(ringMark)
      .set({
        highWater: sql`max(${ringMark.highWater}, ${highWater})`,
        running: sql`max(${ringMark.running}, ${running})`,
      })
      .where(eq(ringMark.resets, resets))
      .run()
  }

  const requestRotation = (kid: string, at: RingMoment): Changed<boolean> => {
    const where = and(eq(signingKey.kid, kid), eq(signingKey.state, 'active'))
    const row = db.select().from(signingKey).where(where).get()
    if (row === undefined) return { value: false, events: [] }
    // A request of a clock that was ahead would be heard when everybody is.
    if (row.rotationRequestedAt !== null && row.rotationRequestedAt <= at.now) return { value: true, events: [] }
    db.update(signingKey).set({ rotationRequestedAt: at.now }).where(where).run()
    return { value: true, events: [{ type: 'key.rotation_requested', kid }] }
  }

  const rememberTiming = (timing: RememberedTiming): Changed<undefined> => {
    const { accessTokenMaxTtlSeconds: ttl, jwksMaxAgeSeconds: age } = timing
    const short = selectPublished.all().filter((key) => key.maxTtlSeconds < ttl || key.maxAgeSeconds < age)
    const events = short.map((key): KeyEvent => {
      const maxTtlSeconds = Math.max(key.maxTtlSeconds, ttl)
      const maxAgeSeconds = Math.max(key.maxAgeSeconds, age)
      db.update(signingKey).set({ maxTtlSeconds, maxAgeSeconds }).where(eq(signingKey.kid, key.kid)).run()
      return { type: 'key.timing_raised', kid: key.kid, detail: { maxTtlSeconds, maxAgeSeconds } }
    })
    return { value: undefined, events }
  }

  const resetCalendar = (now: number): Changed<undefined> => {
    const { highWater } = readMark()
    // The least of a NULL and anything is NULL.
    db.update(signingKey)
      .set({
        createdAt: sql`min(${signingKey.createdAt}, ${now})`,
        publishedAt: sql`min(${signingKey.publishedAt}, ${now})`,
        activatedAt: sql`min(${signingKey.activatedAt}, ${now})`,
        rotationRequestedAt: sql`min(${signingKey.rotationRequestedAt}, ${now})`,
        retiringAt: sql`min(${signingKey.retiringAt}, ${now})`,
      })
      .where(inArray(signingKey.state, publishedStates))
      .run()
    db.update(ringMark)
      .set({ highWater: now, resets: sql`${ringMark.resets} + 1` })
      .run()
    // Under the wrong date marks may have been pruned whose tokens, by the right one, live on.
    db.update(installation)
      .set({ tokensAfter: sql`max(coalesce(${installation.tokensAfter}, 0), ${now + nodeSkewMilliseconds})` })
      .run()
    return { value: undefined, events: [{ type: 'calendar.reset', detail: { before: highWater, after: now } }] }
  }

  const areStored = (roots: readonly WrappedRootKey[]): boolean => {
    const stored = selectRoots.all()
    return (
      haveSameVersions(stored, roots) &&
      stored.every(({ wrapped }, i) => wrapped.equals(roots[i]?.wrapped ?? erasedHalf))
    )
  }

  const rewrap = ({ from, to }: Record<'from' | 'to', readonly WrappedRootKey[]>): Changed<boolean> => {
    if (!areStored(from) || !haveSameVersions(from, to)) return { value: false, events: [] }
    for (const { version, wrapped } of to) {
      db.update(rootKey)
        .set({ wrapped: Buffer.from(wrapped) })
        .where(eq(rootKey.version, version))
        .run()
    }
    return { value: true, events: to.map(({ version }) => ({ type: 'root.rewrapped', rootVersion: version })) }
  }

  const replaceRoot = ({ from, root: { version, wrapped }, keys }: RootReplacement): Changed<boolean> => {
    const kids = selectPublished.all().map((key) => key.kid)
    const given = keys.map((key) => key.kid)
    const isTaken = from.some((root) => root.version === version)
    if (isTaken || !areStored(from) || kids.toSorted().join() !== given.toSorted().join()) {
      return { value: false, events: [] }
    }
    db.insert(rootKey)
      .values({ version, wrapped: Buffer.from(wrapped), createdAt: clock.nowMilliseconds() })
      .run()
    for (const { kid, encryptedPrivateKey } of keys) {
      db.update(signingKey)
        .set({ encryptedPrivateKey: Buffer.from(encryptedPrivateKey) })
        .where(eq(signingKey.kid, kid))
        .run()
    }
    // Keys that are over have no private half any more, so the old root has nothing left to open.
    db.update(signingKey).set({ rootVersion: version }).run()
    db.delete(rootKey)
      .where(notInArray(rootKey.version, [version]))
      .run()
    return { value: true, events: [{ type: 'root.replaced', rootVersion: version }] }
  }

  return {
    readKeys: () => read(readKeys),
    listKeys: () =>
      read(() =>
        db
          .select()
          .from(signingKey)
          .orderBy(asc(signingKey.createdAt), asc(signingKey.kid))
          .all()
          .map((row) => toKeyFacts(row)),
      ),
    claimKeys: (keys, by) => connection.change(by, () => claim(keys)),
    changeRing: (change, by) => {
      const since = clock.monotonicMilliseconds()
      return connection.change(by, () => changeRing(change, since)).catch(falseIfMoved)
    },
    requestRotation: (kid, at, by) => connection.change(by, () => requestRotation(kid, at)),
    rememberTiming: (timing, by) => connection.change(by, () => rememberTiming(timing)),
    noteRingMark: (mark) => {
      const since = clock.monotonicMilliseconds()
      return acts.submit({
        single: false,
        run: () => {
          if (!isLate(since)) raiseMark(mark)
          return readMark()
        },
      })
    },
    resetCalendar: (now, by) => connection.change(by, () => resetCalendar(now)),
    rewrapRoots: (change, by) => connection.change(by, () => rewrap(change)),
    replaceRoot: (change, by) => connection.change(by, () => replaceRoot(change)),
  }
}
