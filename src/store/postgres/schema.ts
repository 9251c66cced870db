/**
 * The tables, as `sqlite/schema.ts` has them: what they mean is said there. Times are milliseconds since the epoch; JSON
 * columns hold arrays of strings, as text. drizzle-kit writes the migrations from this file (`npm run db:generate:postgres`).
 *
 * Every text is compared byte for byte, whatever the database was made for: ids in time order, client ids that no locale
 * may take for equal. drizzle has no word for that, so each text column in the migrations ends in COLLATE "C", by hand (a
 * test looks, and `db check` too).
 */
import { bigint, boolean, check, customType, index, integer, pgTable, primaryKey, sql, uniqueIndex } from './drizzle.ts'

const bytes = customType<{ data: Buffer; driverData: Buffer }>({ dataType: () => 'bytea' })
const text = customType<{ data: string; driverData: string }>({ dataType: () => 'text' })
// Up to 2^53: JavaScript's own limit, and no time or counter comes near it.
const number = (name: string) => bigint(name, { mode: 'number' })

export const installation = pgTable(
  'installation',
  {
    id: integer('id').primaryKey(),
    storeId: text('store_id').notNull(),
    issuer: text('issuer'),
    createdAt: number('created_at').notNull(),
    tokensAfter: number('tokens_after'),
  },
  (table) => [check('installation_single', sql`${table.id} = 1`)],
)

/** Counters, as rows: PostgreSQL's own sequences have gaps, and show numbers in another order than that of the commits. */
export const sequence = pgTable('sequence', {
  name: text('name').primaryKey(),
  value: number('value').notNull(),
})

export const rootKey = pgTable('root_key', {
  version: integer('version').primaryKey(),
  wrapped: bytes('wrapped').notNull(),
  createdAt: number('created_at').notNull(),
})

export const signingKey = pgTable(
  'signing_key',
  {
    kid: text('kid').primaryKey(),
    alg: text('alg').notNull(),
    state: text('state').notNull(),
    publicJwk: text('public_jwk').notNull(),
    encryptedPrivateKey: bytes('encrypted_private_key').notNull(),
    rootVersion: integer('root_version')
      .notNull()
      .references(() => rootKey.version, { onDelete: 'restrict' }),
    createdAt: number('created_at').notNull(),
    publishedAt: number('published_at').notNull(),
    activatedAt: number('activated_at'),
    retiringAt: number('retiring_at'),
    retiredAt: number('retired_at'),
    compromisedAt: number('compromised_at'),
    rotationRequestedAt: number('rotation_requested_at'),
    publishedRunning: number('published_running').notNull().default(0),
    retiringRunning: number('retiring_running'),
    cachedSeconds: number('cached_seconds').notNull().default(86_400),
    maxTtlSeconds: number('max_ttl_seconds').notNull().default(86_400),
    maxAgeSeconds: number('max_age_seconds').notNull().default(86_400),
  },
  (table) => [
    uniqueIndex('signing_key_one_active').on(table.alg).where(sql`${table.state} = 'active'`),
    uniqueIndex('signing_key_one_staged').on(table.alg).where(sql`${table.state} = 'staged'`),
    check('signing_key_state', sql`${table.state} IN ('staged', 'active', 'retiring', 'retired', 'compromised')`),
    check('signing_key_alg', sql`${table.alg} IN ('ES256', 'RS256')`),
  ],
)

export const ringMark = pgTable(
  'ring_mark',
  {
    id: integer('id').primaryKey(),
    highWater: number('high_water').notNull(),
    running: number('running').notNull(),
    resets: number('resets').notNull(),
  },
  (table) => [check('ring_mark_single', sql`${table.id} = 1`)],
)

export const resource = pgTable('resource', {
  uri: text('uri').primaryKey(),
  name: text('name'),
  scopes: text('scopes').notNull(),
  alg: text('alg'),
  accessTokenTtlSeconds: number('access_token_ttl_seconds'),
  createdAt: number('created_at').notNull(),
  updatedAt: number('updated_at').notNull(),
})

export const client = pgTable(
  'client',
  {
    clientId: text('client_id').primaryKey(),
    name: text('name').notNull(),
    status: text('status').notNull(),
    grantTypes: text('grant_types').notNull(),
    authMethods: text('auth_methods').notNull(),
    scopes: text('scopes').notNull(),
    accessTokenTtlSeconds: number('access_token_ttl_seconds'),
    createdAt: number('created_at').notNull(),
    updatedAt: number('updated_at').notNull(),
    disabledAt: number('disabled_at'),
    tokensAfter: number('tokens_after'),
    jwks: text('jwks'),
    jwksUri: text('jwks_uri'),
    assertionAlg: text('assertion_alg'),
    tlsSubjectKind: text('tls_subject_kind'),
    tlsSubject: text('tls_subject'),
    certificateBound: boolean('certificate_bound').notNull().default(false),
    dpopBound: boolean('dpop_bound').notNull().default(false),
    tokensPerHour: number('tokens_per_hour'),
  },
  (table) => [check('client_status', sql`${table.status} IN ('active', 'disabled', 'deleted')`)],
)

export const clientAudience = pgTable(
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

export const clientIntrospects = pgTable(
  'client_introspects',
  {
    clientId: text('client_id')
      .notNull()
      .references(() => client.clientId, { onDelete: 'restrict' }),
    position: integer('position').notNull(),
    uri: text('uri')
      .notNull()
      .references(() => resource.uri, { onDelete: 'restrict' }),
  },
  (table) => [primaryKey({ columns: [table.clientId, table.position] }), index('client_introspects_uri').on(table.uri)],
)

export const clientSecret = pgTable(
  'client_secret',
  {
    secretId: text('secret_id').primaryKey(),
    clientId: text('client_id')
      .notNull()
      .references(() => client.clientId, { onDelete: 'restrict' }),
    sha256: bytes('sha256'),
    argon2id: text('argon2id'),
    createdAt: number('created_at').notNull(),
    expiresAt: number('expires_at'),
    lastUsedAt: number('last_used_at'),
  },
  (table) => [
    index('client_secret_client').on(table.clientId),
    index('client_secret_imported').on(table.secretId).where(sql`${table.argon2id} IS NOT NULL`),
    check('client_secret_kind', sql`(${table.sha256} IS NULL) <> (${table.argon2id} IS NULL)`),
  ],
)

export const issuance = pgTable('issuance', {
  jti: text('jti').primaryKey(),
  clientId: text('client_id').notNull(),
  subject: text('subject'),
  grantType: text('grant_type').notNull(),
  secretId: text('secret_id').notNull(),
  audience: text('audience').notNull(),
  scope: text('scope'),
  kid: text('kid').notNull(),
  expiresAt: number('expires_at').notNull(),
  requestId: text('request_id').notNull(),
  address: text('address').notNull(),
  familyId: text('family_id'),
  refreshGeneration: number('refresh_generation'),
  confirmation: text('confirmation'),
  previousJti: text('previous_jti'),
})

/** A part of each page is left free, by hand, so that the next generation finds room beside the last. */
export const refreshFamily = pgTable('refresh_family', {
  familyId: text('family_id').primaryKey(),
  clientId: text('client_id').notNull(),
  subject: text('subject'),
  audience: text('audience').notNull(),
  scope: text('scope'),
  seed: bytes('seed').notNull(),
  generation: number('generation').notNull(),
  generationAt: number('generation_at').notNull(),
  rootVersion: integer('root_version').notNull(),
  expiresAt: number('expires_at').notNull(),
  familyExpiresAt: number('family_expires_at').notNull(),
  endedAt: number('ended_at'),
  endReason: text('end_reason'),
  confirmation: text('confirmation'),
  lastJti: text('last_jti'),
})

export const mark = pgTable(
  'mark',
  {
    kind: text('kind').notNull(),
    id: text('id').notNull(),
    clientId: text('client_id').notNull(),
    expiresAt: number('expires_at').notNull(),
    sequence: number('sequence').notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.kind, table.id] }),
    index('mark_sequence').on(table.sequence),
    index('mark_expiry').on(table.expiresAt),
    index('mark_client').on(table.clientId),
    check('mark_kind', sql`${table.kind} IN ('jti', 'family')`),
  ],
)

export const replay = pgTable(
  'replay',
  {
    key: bytes('key').primaryKey(),
    expiresAt: number('expires_at').notNull(),
  },
  (table) => [index('replay_expiry').on(table.expiresAt)],
)

export const clientHour = pgTable('client_hour', {
  clientId: text('client_id').primaryKey(),
  hour: number('hour').notNull(),
  issued: number('issued').notNull(),
})

export const auditEvent = pgTable('audit_event', {
  id: text('id').primaryKey(),
  type: text('type').notNull(),
  clientId: text('client_id'),
  requestId: text('request_id'),
  detail: text('detail').notNull(),
  /** What the clock showed, where the id says something else. In SQLite it stands in the detail. */
  wallAt: number('wall_at'),
})

export const copyState = pgTable(
  'copy_state',
  {
    id: integer('id').primaryKey(),
    state: text('state').notNull(),
    copyId: text('copy_id').notNull(),
    storeId: text('store_id').notNull(),
    other: text('other').notNull(),
    at: number('at').notNull(),
    eventId: text('event_id'),
  },
  (table) => [
    check('copy_state_single', sql`${table.id} = 1`),
    check(
      'copy_state_state',
      sql`${table.state} IN ('leaving', 'abandoned', 'left', 'arriving', 'filling', 'arrived')`,
    ),
  ],
)

/** Numbered by PostgreSQL itself, which leaves gaps: nothing depends on the order. */
export const copyChange = pgTable('copy_change', {
  seq: number('seq').primaryKey().generatedAlwaysAsIdentity(),
  tableName: text('table_name').notNull(),
  key: text('key').notNull(),
})
