/** An adapter of oidc-provider for SQLite, of the kind that people write: a table, prepared statements, a commit a write. */
import Database from 'better-sqlite3'

interface Payload {
  grantId?: string
  uid?: string
  userCode?: string
}

interface Row {
  readonly payload: string
  readonly expires_at: number | null
  readonly consumed_at: number | null
}

const seconds = (): number => Math.floor(Date.now() / 1000)

/** A class that oidc-provider makes an instance of for each of its models. */
export function sqliteAdapter(file: string): new (model: string) => object {
  const db = new Database(file)
  db.pragma('journal_mode = WAL')
  db.pragma('synchronous = FULL')
  db.exec(`CREATE TABLE IF NOT EXISTS model (
    model TEXT NOT NULL, id TEXT NOT NULL, payload TEXT NOT NULL,
    grant_id TEXT, uid TEXT, user_code TEXT, expires_at INTEGER, consumed_at INTEGER,
    PRIMARY KEY (model, id)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS model_grant ON model (grant_id) WHERE grant_id IS NOT NULL;
  CREATE INDEX IF NOT EXISTS model_uid ON model (model, uid) WHERE uid IS NOT NULL;
  CREATE INDEX IF NOT EXISTS model_user_code ON model (model, user_code) WHERE user_code IS NOT NULL;`)
  // better-sqlite3 lowers it on a WAL database; with less than FULL the two sides would not do the same work.
  db.pragma('synchronous = FULL')
  if (db.pragma('synchronous', { simple: true }) !== 2) throw new Error('the database is not durable')
  const upsert = db.prepare(
    `INSERT INTO model (model, id, payload, grant_id, uid, user_code, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (model, id) DO UPDATE SET payload = excluded.payload, expires_at = excluded.expires_at`,
  )
  const find = (column: string) =>
    db.prepare(`SELECT payload, expires_at, consumed_at FROM model WHERE model = ? AND ${column} = ?`)
  const [byId, byUid, byUserCode] = [find('id'), find('uid'), find('user_code')]
  const consume = db.prepare('UPDATE model SET consumed_at = ? WHERE model = ? AND id = ?')
  const destroy = db.prepare('DELETE FROM model WHERE model = ? AND id = ?')
  const revoke = db.prepare('DELETE FROM model WHERE grant_id = ?')

  return class {
    readonly #model: string

    constructor(model: string) {
      this.#model = model
    }

    async upsert(id: string, payload: Payload, expiresIn?: number): Promise<void> {
      const { grantId = null, uid = null, userCode = null } = payload
      const expiresAt = expiresIn === undefined ? null : seconds() + expiresIn
      upsert.run(this.#model, id, JSON.stringify(payload), grantId, uid, userCode, expiresAt)
    }

    async find(id: string): Promise<object | undefined> {
      return toPayload(byId.get(this.#model, id) as Row | undefined)
    }

    async findByUid(uid: string): Promise<object | undefined> {
      return toPayload(byUid.get(this.#model, uid) as Row | undefined)
    }

    async findByUserCode(userCode: string): Promise<object | undefined> {
      return toPayload(byUserCode.get(this.#model, userCode) as Row | undefined)
    }

    async consume(id: string): Promise<void> {
      consume.run(seconds(), this.#model, id)
    }

    async destroy(id: string): Promise<void> {
      destroy.run(this.#model, id)
    }

    async revokeByGrantId(grantId: string): Promise<void> {
      revoke.run(grantId)
    }
  }
}

function toPayload(row: Row | undefined): object | undefined {
  if (row === undefined || (row.expires_at !== null && row.expires_at <= seconds())) return undefined
  return { ...JSON.parse(row.payload), ...(row.consumed_at === null ? {} : { consumed: row.consumed_at }) }
}
