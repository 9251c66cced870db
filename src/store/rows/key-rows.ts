/** Signing keys as rows, and what a change of the ring writes, whatever the database. */
import { z } from 'zod/mini'
import type { Change, ChangeRecord } from '../../audit/event.ts'
import type { RingChange } from '../../key/key-store.ts'
import type { RingMoment } from '../../key/ring-clock.ts'
import type { WrappedRootKey } from '../../key/root-key.ts'
import { isSigningAlg } from '../../key/signer.ts'
import {
  isPublished,
  KeyMaterialError,
  type KeyState,
  keyStates,
  type PublicJwk,
  type SigningKeyFacts,
  type StoredSigningKey,
} from '../../key/signing-key.ts'
import type { signingKey } from '../sqlite/schema.ts'

type Row = typeof signingKey.$inferSelect

/** What a change of the ring says in the trail. */
export type KeyEvent = Change & Pick<ChangeRecord, 'detail'>

/** The states of keys that are in the JWKS. */
export const publishedStates = keyStates.filter(isPublished)

/** No bytes: the private half of a key that will never sign again is no longer there. */
export const erasedHalf = Buffer.alloc(0)

/**
 * A process may be paused for an hour between looking at its clocks and its act. What begins with the act would then be
 * dated an hour before, and be over an hour too soon. Less than a second is in `propagationSeconds`.
 */
export const lateMilliseconds = 1_000

/** Somebody else changed the ring first: what this change did so far is undone. */
export class RingMoved extends Error {
  constructor() {
    super('the ring moved')
    this.name = 'RingMoved'
  }
}

const members = { kid: z.string(), use: z.literal('sig') }
// Strict: a private member in a published key would be served to the world.
const publicJwk = z.union([
  z.strictObject({
    ...members,
    kty: z.literal('EC'),
    alg: z.literal('ES256'),
    crv: z.literal('P-256'),
    x: z.string(),
    y: z.string(),
  }),
  z.strictObject({ ...members, kty: z.literal('RSA'), alg: z.literal('RS256'), n: z.string(), e: z.string() }),
])

/** The event of a key that comes into a state. */
export const keyEventOf = {
  staged: 'key.staged',
  active: 'key.activated',
  retiring: 'key.retiring',
  retired: 'key.retired',
  compromised: 'key.compromised',
} as const satisfies Record<KeyState, Change['type']>

/** What a key that comes into a state remembers of the moment. */
export function momentOf(state: KeyState, { now, running, wall }: RingMoment): Partial<typeof signingKey.$inferInsert> {
  switch (state) {
    case 'staged':
      return { publishedAt: now, publishedRunning: running }
    case 'active':
      return { activatedAt: now, rotationRequestedAt: null }
    case 'retiring':
      // While the wall clock stands ahead of the calendar, tokens are dated by it.
      return { retiringAt: Math.max(now, wall), retiringRunning: running }
    case 'retired':
      return { retiredAt: now, encryptedPrivateKey: erasedHalf }
    case 'compromised':
      return { compromisedAt: now, encryptedPrivateKey: erasedHalf }
  }
}

/** Whether two lists have the same versions of the root. */
export function haveSameVersions(some: readonly WrappedRootKey[], others: readonly WrappedRootKey[]): boolean {
  return some.map(({ version }) => version).join() === others.map(({ version }) => version).join()
}

/** For a change that somebody else was before. */
export function falseIfMoved(error: unknown): false {
  if (error instanceof RingMoved) return false
  throw error
}

/** A key as a row. */
export function toKeyRow(
  key: StoredSigningKey | (RingChange['adds'][number] & Omit<SigningKeyFacts, 'state'>),
): typeof signingKey.$inferInsert {
  return {
    ...key,
    publicJwk: JSON.stringify(key.publicJwk),
    encryptedPrivateKey: Buffer.from(key.encryptedPrivateKey),
  }
}

/** A key from its row, with its private half. @throws KeyMaterialError */
export function toSigningKey(row: Row): StoredSigningKey {
  return { ...toKeyFacts(row), encryptedPrivateKey: row.encryptedPrivateKey, rootVersion: row.rootVersion }
}

/** What may be shown of a key. @throws KeyMaterialError */
export function toKeyFacts(row: Row): SigningKeyFacts {
  const parsed = parsePublicJwk(row)
  if (
    parsed === undefined ||
    !isSigningAlg(row.alg) ||
    !isKeyState(row.state) ||
    parsed.alg !== row.alg ||
    parsed.kid !== row.kid
  ) {
    throw new KeyMaterialError(
      `signing key ${row.kid} in the database is damaged: put back the newest file that \`mayfly db backup\` wrote`,
    )
  }
  const { publicJwk: _, encryptedPrivateKey: __, rootVersion: ___, alg: ____, state: _____, ...rest } = row
  const known = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== null))
  return {
    ...(known as Omit<SigningKeyFacts, 'alg' | 'state' | 'publicJwk'>),
    alg: row.alg,
    state: row.state,
    publicJwk: parsed,
  }
}

function parsePublicJwk(row: typeof signingKey.$inferSelect): PublicJwk | undefined {
  try {
    return publicJwk.parse(JSON.parse(row.publicJwk))
  } catch {
    return undefined
  }
}

function isKeyState(text: string): text is KeyState {
  return (keyStates as readonly string[]).includes(text)
}
