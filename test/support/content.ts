/** All that a store holds, read past the program, so that stores of different kinds can be compared; and what fills one at random. */
import Database from 'better-sqlite3'
import { ulidFloor } from '../../src/lib/id.ts'
import type { StorePlace } from '../../src/store/open-store.ts'
import { connect } from './postgres.ts'
import type { Random } from './seed.ts'

type Row = Readonly<Record<string, unknown>>

/** Rows by table, each as text, in some order that is the same for the same rows. */
export type Content = Readonly<Record<string, readonly string[]>>

const ledgers = ['migration', 'copy_state', 'copy_change']

/** What a place holds, without what is of the place itself. */
export async function readContent({ databasePath, postgresUrl }: StorePlace): Promise<Content> {
  return postgresUrl === undefined ? readFile(databasePath) : readDatabase(postgresUrl.reveal())
}

function readFile(path: string): Content {
  const sqlite = new Database(path, { readonly: true })
  try {
    const names = sqlite
      .prepare(`SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'sqlite_*'`)
      .pluck()
      .all() as string[]
    return toContent(names, (name) => sqlite.prepare(`SELECT * FROM "${name}"`).all() as Row[])
  } finally {
    sqlite.close()
  }
}

async function readDatabase(url: string): Promise<Content> {
  const client = await connect(url)
  const { rows } = await client.query(
    `SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace`,
  )
  const tables = new Map<string, Row[]>()
  for (const { relname } of rows as { relname: string }[])
    tables.set(relname, (await client.query(`SELECT * FROM "${relname}"`)).rows as Row[])
  return toContent([...tables.keys()], (name) => tables.get(name) ?? [])
}

function toContent(names: readonly string[], read: (name: string) => readonly Row[]): Content {
  const kept = names.filter((name) => !ledgers.includes(name)).toSorted()
  return Object.fromEntries(kept.map((name) => [name, read(name).map(toText).toSorted()]))
}

// What the clock showed is a column of its own in PostgreSQL; and it gives large numbers as text.
function toText(row: Row): string {
  const { wall_at: shown, ...rest } = row
  const wallAt = shown === undefined || shown === null ? {} : { wallAt: Number(shown) }
  const detail =
    typeof rest.detail === 'string' ? { detail: { ...(JSON.parse(rest.detail) as object), ...wallAt } } : {}
  return JSON.stringify(
    Object.entries({ ...rest, ...detail })
      .map(([name, value]) => [name, plain(value)] as const)
      .toSorted(([a], [b]) => (a < b ? -1 : 1)),
  )
}

function plain(value: unknown): unknown {
  if (Buffer.isBuffer(value)) return `bytes ${value.toString('hex')}`
  if (typeof value === 'boolean') return Number(value)
  return typeof value === 'string' && /^-?[0-9]{1,16}$/.test(value) ? Number(value) : value
}

/** Texts that somebody who puts a statement or a list together by hand gets wrong. */
const texts = [
  '',
  'plain',
  'NULL',
  'null',
  '{a,b}',
  '"q"',
  "it's",
  'back\\slash',
  '\\x61',
  'ä€😀',
  ' spaced ',
  '{}',
  'a,b',
]

/** Adds rows of every table that a copy takes row by row to a file that has keys. */
export function fillFile(path: string, random: Random, rows: number): void {
  const sqlite = new Database(path)
  try {
    sqlite.transaction(() => fill(sqlite, random, rows)).immediate()
  } finally {
    sqlite.close()
  }
}

function fill(sqlite: Database.Database, random: Random, rows: number): void {
  const text = (): string => `${random.pick(texts as [string, ...string[]])}`
  const maybe = <T>(make: () => T): T | null => (random.chance(0.5) ? make() : null)
  const number = (): number => random.between(0, 2 ** 45)
  const bytes = (length: number): Buffer => Buffer.from(Array.from({ length }, () => random.between(0, 256)))
  const tag = random.between(0, 2 ** 30).toString(36)
  const id = (i: number): string => `${tag}-${random.pick(['a', 'B', 'z', '_', '.'])}-${i}`
  // Of the past: what is written next follows the last one.
  const ulid = (): string =>
    ulidFloor(random.between(1_600_000_000_000, 1_700_000_000_000)).slice(0, 10) +
    bytes(8).toString('hex').toUpperCase()
  const add = (table: string, values: Row): void => {
    const names = Object.keys(values)
    const text = `INSERT INTO ${table} (${names.join(', ')}) VALUES (${names.map(() => '?').join(', ')})`
    sqlite.prepare(text).run(...Object.values(values))
  }
  const times = (make: (i: number) => void): void => {
    for (let i = 0; i < rows; i += 1) make(i)
  }
  const uris: string[] = []
  const clients: string[] = []
  times((i) => {
    uris.push(`https://${id(i)}`)
    add('resource', {
      uri: uris[i],
      name: maybe(text),
      scopes: '["a"]',
      alg: maybe(() => 'RS256'),
      access_token_ttl_seconds: maybe(number),
      created_at: number(),
      updated_at: number(),
    })
  })
  times((i) => {
    clients.push(id(i))
    add('client', {
      client_id: clients[i],
      name: text(),
      status: random.pick(['active', 'disabled', 'deleted']),
      grant_types: '[]',
      auth_methods: '[]',
      scopes: '[]',
      access_token_ttl_seconds: maybe(number),
      created_at: number(),
      updated_at: number(),
      disabled_at: maybe(number),
      tokens_after: maybe(number),
      jwks: maybe(() => '[]'),
      jwks_uri: maybe(() => `https://${id(i)}/jwks`),
      assertion_alg: maybe(text),
      tls_subject_kind: maybe(text),
      tls_subject: maybe(text),
      certificate_bound: random.between(0, 2),
      dpop_bound: random.between(0, 2),
      tokens_per_hour: maybe(number),
    })
    for (const table of ['client_audience', 'client_introspects'])
      for (let position = random.between(0, 3); position > 0; position -= 1)
        add(table, { client_id: clients[i], position, uri: uris[random.between(0, uris.length)] })
    const isGenerated = random.chance(0.5)
    add('client_secret', {
      secret_id: `sec_${id(i)}`,
      client_id: clients[i],
      sha256: isGenerated ? bytes(32) : null,
      argon2id: isGenerated ? null : `$argon2id$${text()}`,
      created_at: number(),
      expires_at: maybe(number),
      last_used_at: maybe(number),
    })
  })
  times((i) => {
    add('issuance', {
      jti: ulid(),
      client_id: id(i),
      subject: maybe(text),
      grant_type: text(),
      secret_id: text(),
      audience: text(),
      scope: maybe(text),
      kid: text(),
      expires_at: number(),
      request_id: text(),
      address: text(),
      family_id: maybe(text),
      refresh_generation: maybe(number),
      confirmation: maybe(text),
      previous_jti: maybe(text),
    })
    add('refresh_family', {
      family_id: ulid(),
      client_id: text(),
      subject: maybe(text),
      audience: text(),
      scope: maybe(text),
      seed: bytes(random.between(0, 33)),
      generation: number(),
      generation_at: number(),
      root_version: random.between(1, 9),
      expires_at: number(),
      family_expires_at: number(),
      ended_at: maybe(number),
      end_reason: maybe(text),
      confirmation: maybe(text),
      last_jti: maybe(text),
    })
    add('mark', {
      kind: random.pick(['jti', 'family']),
      id: id(i),
      client_id: text(),
      expires_at: number(),
      sequence: number(),
    })
    add('replay', { key: Buffer.concat([bytes(16), Buffer.from(id(i))]), expires_at: number() })
    add('client_hour', { client_id: id(i), hour: number(), issued: number() })
    const detail = { actor: 'cli:test', text: text(), ...(random.chance(0.3) ? { wallAt: number() } : {}) }
    add('audit_event', {
      id: ulid(),
      type: text(),
      client_id: maybe(text),
      request_id: maybe(text),
      detail: JSON.stringify(detail),
    })
  })
  sqlite.prepare(`INSERT OR REPLACE INTO sequence VALUES ('family_moment', ?), ('probe', ?)`).run(number(), number())
}
