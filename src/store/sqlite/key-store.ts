import { z } from 'zod/mini'
import type { KeyMaterial, KeyStore } from '../../key/key-store.ts'
import { isSigningAlg } from '../../key/signer.ts'
import {
  KeyMaterialError,
  type KeyState,
  keyStates,
  type PublicJwk,
  type StoredSigningKey,
} from '../../key/signing-key.ts'
import { type Changed, type Connection, read } from './connection.ts'
import { asc, inArray } from './drizzle.ts'
import { installation, rootKey, signingKey } from './schema.ts'

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

export function createKeyStore(connection: Connection): KeyStore {
  const { db, clock } = connection
  const selectInstallation = db.select().from(installation).prepare()
  const selectRoots = db.select().from(rootKey).orderBy(asc(rootKey.version)).prepare()
  const selectPublished = db
    .select()
    .from(signingKey)
    .where(inArray(signingKey.state, ['staged', 'active', 'retiring']))
    .orderBy(asc(signingKey.createdAt), asc(signingKey.kid))
    .prepare()

  const readKeys = (): KeyMaterial | undefined => {
    const row = selectInstallation.get()
    if (row === undefined) return undefined
    const { storeId } = row
    return { storeId, rootKeys: selectRoots.all(), signingKeys: selectPublished.all().map(toSigningKey) }
  }

  const claim = (material: KeyMaterial): Changed<boolean> => {
    if (selectInstallation.get() !== undefined) return { value: false, events: [] }
    const createdAt = clock.nowMilliseconds()
    const { storeId } = material
    db.insert(installation).values({ id: 1, storeId, createdAt }).run()
    for (const { version, wrapped } of material.rootKeys) {
      db.insert(rootKey)
        .values({ version, wrapped: Buffer.from(wrapped), createdAt })
        .run()
    }
    for (const key of material.signingKeys) db.insert(signingKey).values(toRow(key)).run()
    return {
      value: true,
      events: [
        { type: 'store.claimed', storeId },
        ...material.signingKeys.map(({ kid, alg, state }) => ({
          type: state === 'active' ? ('key.activated' as const) : ('key.staged' as const),
          kid,
          detail: { alg },
        })),
      ],
    }
  }

  return {
    readKeys: () => read(readKeys),
    claimKeys: (material, by) => connection.change(by, () => claim(material)),
  }
}

function toRow(key: StoredSigningKey): typeof signingKey.$inferInsert {
  return {
    ...key,
    publicJwk: JSON.stringify(key.publicJwk),
    encryptedPrivateKey: Buffer.from(key.encryptedPrivateKey),
  }
}

function toSigningKey(row: typeof signingKey.$inferSelect): StoredSigningKey {
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
  return {
    kid: row.kid,
    alg: row.alg,
    state: row.state,
    publicJwk: parsed,
    encryptedPrivateKey: row.encryptedPrivateKey,
    rootVersion: row.rootVersion,
    createdAt: row.createdAt,
    publishedAt: row.publishedAt,
    ...(row.activatedAt === null ? {} : { activatedAt: row.activatedAt }),
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
