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
import { columnsOf } from './columns.ts'
import type { Changed, Connection, Transaction } from './connection.ts'
import type { Row } from './database.ts'
import { and, eq, inArray, ne, sql } from './drizzle.ts'
import { installation, ringMark, rootKey, signingKey } from './schema.ts'

type KeyRow = typeof signingKey.$inferSelect

const states = publishedStates.map((state) => `'${state}'`).join(', ')
const keyColumns = columnsOf(signingKey)
const selectPublished = `SELECT ${keyColumns} FROM signing_key WHERE state IN (${states}) ORDER BY created_at, kid`
const selectAll = `SELECT ${keyColumns} FROM signing_key ORDER BY created_at, kid`
const selectRoots = 'SELECT version, wrapped FROM root_key ORDER BY version'
const selectMark = `SELECT high_water AS "highWater", running, resets FROM ring_mark`
// All of it as of one moment: keys of before a new root would not open under it.
const selectMaterial = `SELECT store_id AS "storeId",
    (SELECT json_agg(json_build_object('version', version, 'wrapped', encode(wrapped, 'base64')) ORDER BY version)
     FROM root_key) AS roots,
    (SELECT json_agg(json_build_object(${jsonOf(signingKey)}) ORDER BY created_at, kid)
     FROM signing_key WHERE state IN (${states})) AS keys,
    (SELECT row_to_json(marks) FROM (${selectMark}) AS marks) AS mark
  FROM installation`
const raiseMark = `UPDATE ring_mark SET high_water = greatest(high_water, $1), running = greatest(running, $2) WHERE resets = $3`

export function createKeyStore(connection: Connection): KeyStore {
  const { clock } = connection

  const readMark = async (tx: Pick<Transaction, 'query'>): Promise<RingMark> => {
    const [row] = await tx.query({ text: selectMark })
    return (row as RingMark | undefined) ?? { highWater: 0, running: 0, resets: 0 }
  }

  const readPublished = async (tx: Transaction): Promise<readonly KeyRow[]> =>
    (await tx.query({ text: selectPublished })) as readonly KeyRow[]

  // Whoever has not heard of a reset yet must not undo it.
  const raise = (tx: Transaction, { highWater, running, resets }: RingMark) =>
    tx.query({ text: raiseMark, values: [highWater, running, resets] })

  const claim = async (tx: Transaction, keys: FirstKeys): Promise<Changed<boolean>> => {
    const { storeId } = keys
    const createdAt = clock.nowMilliseconds()
    // One row for all: of two that claim it, one finds it taken.
    const claimed = await tx.query({
      text: 'INSERT INTO installation (id, store_id, created_at) VALUES (1, $1, $2) ON CONFLICT DO NOTHING RETURNING id',
      values: [storeId, createdAt],
    })
    if (claimed.length === 0) return { value: false, events: [] }
    await tx.db
      .insert(rootKey)
      .values(keys.rootKeys.map(({ version, wrapped }) => ({ version, wrapped: Buffer.from(wrapped), createdAt })))
    await tx.db.insert(signingKey).values(keys.signingKeys.map(toKeyRow))
    // A first start whose clock is far ahead must not look right to those who come after.
    const highWater = Math.max(0, ...keys.signingKeys.map((key) => key.publishedAt))
    await raise(tx, { highWater, running: 0, resets: (await readMark(tx)).resets })
    const made = keys.signingKeys.map(({ kid, alg, state }) => ({ type: keyEventOf[state], kid, detail: { alg } }))
    return { value: true, events: [{ type: 'store.claimed', storeId }, ...made] }
  }

  const move = async (
    tx: Transaction,
    { kid, from, to }: RingChange['moves'][number],
    { at, reason }: RingChange,
  ): Promise<KeyEvent> => {
    const moved = await tx.db
      .update(signingKey)
      .set({ state: to, ...momentOf(to, at) })
      .where(and(eq(signingKey.kid, kid), eq(signingKey.state, from)))
      .returning({ kid: signingKey.kid })
    if (moved.length !== 1) throw new RingMoved()
    return { type: keyEventOf[to], kid, detail: { from, reason } }
  }

  const add = async (
    tx: Transaction,
    key: RingChange['adds'][number],
    { at, timing, reason, ...ages }: RingChange & { readonly cachedSeconds: number; readonly maxAgeSeconds: number },
  ): Promise<KeyEvent> => {
    const { kid, alg, state } = key
    const [other] = await tx.query({
      text: 'SELECT 1 FROM signing_key WHERE alg = $1 AND state = $2',
      values: [alg, state],
    })
    if (other !== undefined) throw new RingMoved()
    const { cachedSeconds, maxAgeSeconds } = ages
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
    await tx.db.insert(signingKey).values(row)
    return { type: keyEventOf[state], kid, detail: { alg, reason } }
  }

  const isLate = (since: number): boolean => clock.monotonicMilliseconds() - since > lateMilliseconds

  const changeRing = async (tx: Transaction, asked: RingChange, since: number): Promise<Changed<boolean>> => {
    const mark = await readMark(tx)
    if (isLate(since) || asked.at.resets !== mark.resets) throw new RingMoved()
    // Another process may have counted further: what begins now begins after all that anybody has counted.
    const at = { ...asked.at, running: Math.max(asked.at.running, mark.running) }
    const change = { ...asked, at }
    // What was published until now may be cached for so long.
    const ages = (await readPublished(tx)).map((key) => key.maxAgeSeconds)
    const cachedSeconds = Math.max(change.timing.jwksMaxAgeSeconds, ...ages)
    // Keys that leave before their time hand on what they remember: those copies may outlive the next change too.
    const isEmergency = change.moves.some(({ to }) => to === 'compromised')
    const maxAgeSeconds = isEmergency ? cachedSeconds : change.timing.jwksMaxAgeSeconds
    const events: KeyEvent[] = []
    for (const each of change.moves) events.push(await move(tx, each, change))
    for (const each of change.adds) events.push(await add(tx, each, { ...change, cachedSeconds, maxAgeSeconds }))
    // No calendar shall ever be before what it has stamped, and every process counts running time from here.
    await raise(tx, { highWater: at.now, running: at.running, resets: at.resets })
    return { value: true, events }
  }

  const requestRotation = async (tx: Transaction, kid: string, at: RingMoment): Promise<Changed<boolean>> => {
    const where = and(eq(signingKey.kid, kid), eq(signingKey.state, 'active'))
    const [row] = await tx.db.select().from(signingKey).where(where)
    if (row === undefined) return { value: false, events: [] }
    // A request of a clock that was ahead would be heard when everybody is.
    if (row.rotationRequestedAt !== null && row.rotationRequestedAt <= at.now) return { value: true, events: [] }
    await tx.db.update(signingKey).set({ rotationRequestedAt: at.now }).where(where)
    return { value: true, events: [{ type: 'key.rotation_requested', kid }] }
  }

  const rememberTiming = async (tx: Transaction, timing: RememberedTiming): Promise<Changed<undefined>> => {
    const { accessTokenMaxTtlSeconds: ttl, jwksMaxAgeSeconds: age } = timing
    const short = (await readPublished(tx)).filter((key) => key.maxTtlSeconds < ttl || key.maxAgeSeconds < age)
    const events: KeyEvent[] = []
    for (const key of short) {
      const maxTtlSeconds = Math.max(key.maxTtlSeconds, ttl)
      const maxAgeSeconds = Math.max(key.maxAgeSeconds, age)
      await tx.db.update(signingKey).set({ maxTtlSeconds, maxAgeSeconds }).where(eq(signingKey.kid, key.kid))
      events.push({ type: 'key.timing_raised', kid: key.kid, detail: { maxTtlSeconds, maxAgeSeconds } })
    }
    return { value: undefined, events }
  }

  const resetCalendar = async (tx: Transaction, now: number): Promise<Changed<undefined>> => {
    const { highWater } = await readMark(tx)
    // PostgreSQL's least leaves out NULL; what has no date gets none.
    const back = (column: 'activatedAt' | 'createdAt' | 'publishedAt' | 'retiringAt' | 'rotationRequestedAt') =>
      sql`CASE WHEN ${signingKey[column]} > ${now}::bigint THEN ${now}::bigint ELSE ${signingKey[column]} END`
    await tx.db
      .update(signingKey)
      .set({
        createdAt: back('createdAt'),
        publishedAt: back('publishedAt'),
        activatedAt: back('activatedAt'),
        rotationRequestedAt: back('rotationRequestedAt'),
        retiringAt: back('retiringAt'),
      })
      .where(inArray(signingKey.state, publishedStates))
    await tx.db.update(ringMark).set({ highWater: now, resets: sql`${ringMark.resets} + 1` })
    // Under the wrong date marks may have been pruned whose tokens, by the right one, live on.
    const ended = now + nodeSkewMilliseconds
    await tx.db
      .update(installation)
      .set({ tokensAfter: sql`greatest(coalesce(${installation.tokensAfter}, 0), ${ended}::bigint)` })
    return { value: undefined, events: [{ type: 'calendar.reset', detail: { before: highWater, after: now } }] }
  }

  const areStored = async (tx: Transaction, roots: readonly WrappedRootKey[]): Promise<boolean> => {
    const stored = (await tx.query({ text: selectRoots })) as readonly { version: number; wrapped: Buffer }[]
    return (
      haveSameVersions(stored, roots) &&
      stored.every(({ wrapped }, i) => wrapped.equals(roots[i]?.wrapped ?? erasedHalf))
    )
  }

  const rewrap = async (
    tx: Transaction,
    { from, to }: Record<'from' | 'to', readonly WrappedRootKey[]>,
  ): Promise<Changed<boolean>> => {
    if (!(await areStored(tx, from)) || !haveSameVersions(from, to)) return { value: false, events: [] }
    for (const { version, wrapped } of to) {
      await tx.db
        .update(rootKey)
        .set({ wrapped: Buffer.from(wrapped) })
        .where(eq(rootKey.version, version))
    }
    return { value: true, events: to.map(({ version }) => ({ type: 'root.rewrapped', rootVersion: version })) }
  }

  const replaceRoot = async (tx: Transaction, change: RootReplacement): Promise<Changed<boolean>> => {
    const { from, root, keys } = change
    const { version, wrapped } = root
    const kids = (await readPublished(tx)).map((key) => key.kid)
    const given = keys.map((key) => key.kid)
    const isTaken = from.some((other) => other.version === version)
    if (isTaken || !(await areStored(tx, from)) || kids.toSorted().join() !== given.toSorted().join()) {
      return { value: false, events: [] }
    }
    await tx.db.insert(rootKey).values({ version, wrapped: Buffer.from(wrapped), createdAt: clock.nowMilliseconds() })
    for (const { kid, encryptedPrivateKey } of keys) {
      await tx.db
        .update(signingKey)
        .set({ encryptedPrivateKey: Buffer.from(encryptedPrivateKey) })
        .where(eq(signingKey.kid, kid))
    }
    // Keys that are over have no private half any more, so the old root has nothing left to open.
    await tx.db.update(signingKey).set({ rootVersion: version })
    await tx.db.delete(rootKey).where(ne(rootKey.version, version))
    return { value: true, events: [{ type: 'root.replaced', rootVersion: version }] }
  }

  return {
    readKeys: async () => {
      const [row] = await connection.read({ text: selectMaterial })
      return row === undefined ? undefined : toMaterial(row)
    },
    listKeys: async () => (await connection.read({ text: selectAll })).map((row) => toKeyFacts(row as KeyRow)),
    claimKeys: (keys, by) => connection.change(by, (tx) => claim(tx, keys)),
    changeRing: (change, by) => {
      const since = clock.monotonicMilliseconds()
      return connection.change(by, (tx) => changeRing(tx, change, since)).catch(falseIfMoved)
    },
    requestRotation: (kid, at, by) => connection.change(by, (tx) => requestRotation(tx, kid, at)),
    rememberTiming: (timing, by) => connection.change(by, (tx) => rememberTiming(tx, timing)),
    noteRingMark: (mark) => {
      const since = clock.monotonicMilliseconds()
      return connection.transaction(async (tx) => {
        if (!isLate(since)) await raise(tx, mark)
        return readMark(tx)
      })
    },
    resetCalendar: (now, by) => connection.change(by, (tx) => resetCalendar(tx, now)),
    rewrapRoots: (change, by) => connection.change(by, (tx) => rewrap(tx, change)),
    replaceRoot: (change, by) => connection.change(by, (tx) => replaceRoot(tx, change)),
  }
}

// A row as members of a JSON object; bytes as text.
function jsonOf(table: typeof signingKey): string {
  return columnsOf(table)
    .split(', ')
    .map((column) => {
      const [, name = '', member = ''] = /^(\w+) AS "(\w+)"$/.exec(column) ?? []
      return `'${member}', ${member === 'encryptedPrivateKey' ? `encode(${name}, 'base64')` : name}`
    })
    .join(', ')
}

type JsonKeyRow = Omit<KeyRow, 'encryptedPrivateKey'> & { readonly encryptedPrivateKey: string }

function toMaterial({ storeId, roots, keys, mark }: Row): KeyMaterial {
  const bytes = (text: string): Buffer => Buffer.from(text, 'base64')
  return {
    storeId: storeId as string,
    rootKeys: ((roots ?? []) as { version: number; wrapped: string }[]).map(({ version, wrapped }) => ({
      version,
      wrapped: bytes(wrapped),
    })),
    signingKeys: ((keys ?? []) as JsonKeyRow[]).map((key) =>
      toSigningKey({ ...key, encryptedPrivateKey: bytes(key.encryptedPrivateKey) }),
    ),
    ringMark: mark as RingMark,
  }
}
