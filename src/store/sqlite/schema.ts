/**
 * The tables. Times are milliseconds since the epoch; JSON columns hold arrays of strings. drizzle-kit writes the
 * migrations from this file; each CREATE TABLE in them ends in STRICT, by hand (a test looks).
 */
import { blob, check, index, integer, primaryKey, sql, sqliteTable, text, uniqueIndex } from './drizzle.ts'

/** One row: which installation this is. */
export const installation = sqliteTable(
  'installation',
  {
    id: integer('id').primaryKey(),
    storeId: text('store_id').notNull(),
    issuer: text('issuer'),
    createdAt: integer('created_at').notNull(),
  },
  (table) => [check('installation_single', sql`${table.id} = 1`)],
)

/** Counters that fence decisions. One row, `registry`, so far. */
export const sequence = sqliteTable('sequence', {
  name: text('name').primaryKey(),
  value: integer('value').notNull(),
})

export const rootKey = sqliteTable('root_key', {
  version: integer('version').primaryKey(),
  wrapped: blob('wrapped', { mode: 'buffer' }).notNull(),
  createdAt: integer('created_at').notNull(),
})

export const signingKey = sqliteTable(
  'signing_key',
  {
    kid: text('kid').primaryKey(),
    alg: text('alg').notNull(),
    state: text('state').notNull(),
    publicJwk: text('public_jwk').notNull(),
    encryptedPrivateKey: blob('encrypted_private_key', { mode: 'buffer' }).notNull(),
    rootVersion: integer('root_version')
      .notNull()
      .references(() => rootKey.version, { onDelete: 'restrict' }),
    createdAt: integer('created_at').notNull(),
    publishedAt: integer('published_at').notNull(),
    activatedAt: integer('activated_at'),
    retiringAt: integer('retiring_at'),
    retiredAt: integer('retired_at'),
    compromisedAt: integer('compromised_at'),
    rotationRequestedAt: integer('rotation_requested_at'),
    publishedRunning: integer('published_running').notNull().default(0),
    retiringRunning: integer('retiring_running'),
    // A key of before these columns may have been published under the longest setting that there is.
    cachedSeconds: integer('cached_seconds').notNull().default(86_400),
    maxTtlSeconds: integer('max_ttl_seconds').notNull().default(86_400),
    maxAgeSeconds: integer('max_age_seconds').notNull().default(86_400),
  },
  (table) => [
    uniqueIndex('signing_key_one_active').on(table.alg).where(sql`${table.state} = 'active'`),
    uniqueIndex('signing_key_one_staged').on(table.alg).where(sql`${table.state} = 'staged'`),
    check('signing_key_state', sql`${table.state} IN ('staged', 'active', 'retiring', 'retired', 'compromised')`),
    check('signing_key_alg', sql`${table.alg} IN ('ES256', 'RS256')`),
  ],
)

/** One row: both clocks of the ring (`key/ring-clock.ts`), milliseconds. */
export const ringMark = sqliteTable(
  'ring_mark',
  {
    id: integer('id').primaryKey(),
    highWater: integer('high_water').notNull(),
    running: integer('running').notNull(),
    /** How often the calendar was set back by hand. */
    resets: integer('resets').notNull(),
  },
  (table) => [check('ring_mark_single', sql`${table.id} = 1`)],
)

export const resource = sqliteTable('resource', {
  uri: text('uri').primaryKey(),
  name: text('name'),
  scopes: text('scopes').notNull(),
  alg: text('alg'),
  accessTokenTtlSeconds: integer('access_token_ttl_seconds'),
  createdAt: integer('created_at').notNull(),
  updatedAt: integer('updated_at').notNull(),
})

/** A deleted client's row stays, emptied, so that its id is never given again. */
export const client = sqliteTable(
  'client',
  {
    clientId: text('client_id').primaryKey(),
    name: text('name').notNull(),
    status: text('status').notNull(),
    grantTypes: text('grant_types').notNull(),
    authMethods: text('auth_methods').notNull(),
    scopes: text('scopes').notNull(),
    accessTokenTtlSeconds: integer('access_token_ttl_seconds'),
    createdAt: integer('created_at').notNull(),
    updatedAt: integer('updated_at').notNull(),
    disabledAt: integer('disabled_at'),
  },
  (table) => [check('client_status', sql`${table.status} IN ('active', 'disabled', 'deleted')`)],
)

/** `position` keeps the order in which the audiences were named. */
export const clientAudience = sqliteTable(
  'client_audience',
  {
    clientId: text('client_id')
      .notNull()
      .references(() => client.clientId, { onDelete: 'restrict' }),
    position: integer('position').notNull(),
    uri: text('uri')
      .notNull()
      .references(() => resource.uri, { onDelete: 'restrict' }),
  },
  (table) => [primaryKey({ columns: [table.clientId, table.position] }), index('client_audience_uri').on(table.uri)],
)

export const clientSecret = sqliteTable(
  'client_secret',
  {
    secretId: text('secret_id').primaryKey(),
    clientId: text('client_id')
      .notNull()
      .references(() => client.clientId, { onDelete: 'restrict' }),
    sha256: blob('sha256', { mode: 'buffer' }),
    argon2id: text('argon2id'),
    createdAt: integer('created_at').notNull(),
    expiresAt: integer('expires_at'),
    lastUsedAt: integer('last_used_at'),
  },
  (table) => [
    index('client_secret_client').on(table.clientId),
    // Finds in one step whether the store holds any imported secret at all.
    index('client_secret_imported').on(table.secretId).where(sql`${table.argon2id} IS NOT NULL`),
    check('client_secret_kind', sql`(${table.sha256} IS NULL) <> (${table.argon2id} IS NULL)`),
  ],
)

/** A row a token, keyed by its `jti`, which is in time order: the table grows and is pruned at its ends alone. */
export const issuance = sqliteTable('issuance', {
  jti: text('jti').primaryKey(),
  clientId: text('client_id').notNull(),
  /** Absent when it is the client. */
  subject: text('subject'),
  grantType: text('grant_type').notNull(),
  secretId: text('secret_id').notNull(),
  audience: text('audience').notNull(),
  scope: text('scope'),
  kid: text('kid').notNull(),
  /** Seconds since the epoch, as in the token. */
  expiresAt: integer('expires_at').notNull(),
  requestId: text('request_id').notNull(),
  address: text('address').notNull(),
})

/** Refusals and changes, keyed in time order. */
export const auditEvent = sqliteTable('audit_event', {
  id: text('id').primaryKey(),
  type: text('type').notNull(),
  clientId: text('client_id'),
  requestId: text('request_id'),
  /** The other members of the event, as JSON. */
  detail: text('detail').notNull(),
})
