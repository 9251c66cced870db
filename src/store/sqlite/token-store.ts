import type { IssuanceRecord } from '../../audit/event.ts'
import { StoreUnavailable } from '../../lib/store-error.ts'
import type { TokenStore } from '../../token/token-store.ts'
import { type Connection, read } from './connection.ts'
import { eq, sql } from './drizzle.ts'
import { issuance } from './schema.ts'

export function createTokenStore({ db, sqlite, acts }: Connection): TokenStore {
  const { placeholder } = sql
  // By hand and by position: this runs for every token, and drizzle takes as long to hand the values over as SQLite to write them.
  const insert = sqlite.prepare(
    `INSERT INTO issuance (jti, client_id, subject, grant_type, secret_id, audience, scope, kid, expires_at, request_id, address)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  )
  const byJti = db
    .select()
    .from(issuance)
    .where(eq(issuance.jti, placeholder('jti')))
    .prepare()

  return {
    recordIssuance: (record, sequence) =>
      acts.submit({
        single: true,
        run: (batch) => {
          // The fence. The write lock is held, so nothing can move between here and COMMIT.
          if (batch.sequence !== sequence) return false
          const { changes } = insert.run(...toValues(record))
          // Somebody's trigger may have swallowed it.
          if (changes !== 1) throw new StoreUnavailable('the record of a token was not written')
          return true
        },
      }),
    findIssuance: (jti) =>
      read(() => {
        const row = byJti.get({ jti })
        return row === undefined ? undefined : toIssuanceRecord(row)
      }),
  }
}

function toValues(record: IssuanceRecord): (string | number | null)[] {
  const {
    jti,
    clientId,
    subject,
    grantType,
    secretId,
    audience,
    scope = null,
    kid,
    expiresAt,
    requestId,
    address,
  } = record
  const other = subject === clientId ? null : subject
  return [jti, clientId, other, grantType, secretId, audience, scope, kid, expiresAt, requestId, address]
}

export function toIssuanceRecord(row: typeof issuance.$inferSelect): IssuanceRecord {
  const { subject, scope, requestId, ...rest } = row
  return {
    ...rest,
    requestId: `req_${requestId.replace(/^req_/, '')}`,
    subject: subject ?? row.clientId,
    ...(scope === null ? {} : { scope }),
  }
}
