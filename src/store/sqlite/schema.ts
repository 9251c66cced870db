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
    /** Only tokens issued after this moment count: set when the store was put back to an earlier state. */
    tokensAfter: integer('tokens_after'),
  },
  (table) => [check('installation_single', sql`${table.id} = 1`)],
)

/**
 * Counters: `registry` fences decisions, `mark` counts what has ended tokens. And `family_moment`, when there is one: how far
 * the clock of refresh families has come (milliseconds).
 */
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
    /** Only tokens and refresh families of after this moment count. It outlives a deletion. */
    tokensAfter: integer('tokens_after'),
    /** Its own keys: a JSON list of JWKs, or where they are fetched from. */
    jwks: text('jwks'),
    jwksUri: text('jwks_uri'),
    assertionAlg: text('assertion_alg'),
    /** `subject_dn`, `san_dns` and so on, and the name itself. */
    tlsSubjectKind: text('tls_subject_kind'),
    tlsSubject: text('tls_subject'),
    certificateBound: integer('certificate_bound', { mode: 'boolean' }).notNull().default(false),
    dpopBound: integer('dpop_bound', { mode: 'boolean' }).notNull().default(false),
    tokensPerHour: integer('tokens_per_hour'),
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

/** Resources whose tokens the client may ask about. */
export const clientIntrospects = sqliteTable(
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
  /** What proved the client: `sec_…`, or `key_…` and `crt_…` where it was no secret. */
  secretId: text('secret_id').notNull(),
  audience: text('audience').notNull(),
  scope: text('scope'),
  kid: text('kid').notNull(),
  /** Seconds since the epoch, as in the token. */
  expiresAt: integer('expires_at').notNull(),
  requestId: text('request_id').notNull(),
  address: text('address').notNull(),
  /** The refresh family that it came with, and the generation that was redeemed for it; absent without a family. */
  familyId: text('family_id'),
  refreshGeneration: integer('refresh_generation'),
  /** What the token is bound to (`oauth/confirmation.ts`). */
  confirmation: text('confirmation'),
  /**
   * The token that the redeemed generation began with; absent for the first. So the uses of a family are found one from
   * the other: an index would be written in another place for each family.
   */
  previousJti: text('previous_jti'),
})

/**
 * A row a refresh family (`token/family.ts`), however often it is refreshed. Its id begins with its birth. WITHOUT ROWID,
 * by hand in the migration: the id would lie there twice. No index on when it dies: each use would move its entry.
 */
export const refreshFamily = sqliteTable('refresh_family', {
  familyId: text('family_id').primaryKey(),
  clientId: text('client_id').notNull(),
  /** Absent when it is the client. */
  subject: text('subject'),
  audience: text('audience').notNull(),
  scope: text('scope'),
  seed: blob('seed', { mode: 'buffer' }).notNull(),
  generation: integer('generation').notNull(),
  generationAt: integer('generation_at').notNull(),
  /** The root that the ticket of this generation is derived from. */
  rootVersion: integer('root_version').notNull(),
  /** When the ticket of this generation dies, and when the whole family does. */
  expiresAt: integer('expires_at').notNull(),
  familyExpiresAt: integer('family_expires_at').notNull(),
  endedAt: integer('ended_at'),
  endReason: text('end_reason'),
  /** What the token of the current generation is bound to. */
  confirmation: text('confirmation'),
  /** The token that this generation began with; absent for the first. */
  lastJti: text('last_jti'),
})

/**
 * Tokens that were ended one by one, and those of refresh families that were ended (`token/marks.ts`). What ends all
 * tokens of a client, of a key or of the store stands with these.
 */
export const mark = sqliteTable(
  'mark',
  {
    kind: text('kind').notNull(),
    /** The `jti`, or the id of the family. */
    id: text('id').notNull(),
    clientId: text('client_id').notNull(),
    /** When the last token that it ends has died by itself, milliseconds. */
    expiresAt: integer('expires_at').notNull(),
    /** The value of the counter `mark` when it was set. */
    sequence: integer('sequence').notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.kind, table.id] }),
    index('mark_sequence').on(table.sequence),
    index('mark_expiry').on(table.expiresAt),
    index('mark_client').on(table.clientId),
    check('mark_kind', sql`${table.kind} IN ('jti', 'family')`),
  ],
)

/** Statements that have counted (`oauth/replay.ts`), until nobody would take them any more. WITHOUT ROWID, by hand. */
export const replay = sqliteTable(
  'replay',
  {
    key: blob('key', { mode: 'buffer' }).primaryKey(),
    expiresAt: integer('expires_at').notNull(),
  },
  (table) => [index('replay_expiry').on(table.expiresAt)],
)

/** How many tokens a client with a quota has had in the hour that it last had one in. WITHOUT ROWID, by hand. */
export const clientHour = sqliteTable('client_hour', {
  clientId: text('client_id').primaryKey(),
  /** Hours since the epoch. */
  hour: integer('hour').notNull(),
  issued: integer('issued').notNull(),
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

/**
 * One row while the store is copied to another place, and for ever after in the place that it left (`store/copy/copy.ts`);
 * none in the place where it lives.
 */
export const copyState = sqliteTable(
  'copy_state',
  {
    id: integer('id').primaryKey(),
    state: text('state').notNull(),
    /** Names one run of the command: whoever finds another one here has been overtaken. */
    copyId: text('copy_id').notNull(),
    storeId: text('store_id').notNull(),
    /** The place on the other side, without a password. */
    other: text('other').notNull(),
    at: integer('at').notNull(),
    /** The audit record of the move, by which both sides know that they are of the same one. */
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

/** The keys of rows that were changed since a copy was begun, as JSON lists. */
export const copyChange = sqliteTable('copy_change', {
  seq: integer('seq').primaryKey({ autoIncrement: true }),
  tableName: text('table_name').notNull(),
  key: text('key').notNull(),
})
