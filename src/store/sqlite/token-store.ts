import type { IssuanceRecord } from '../../audit/event.ts'
import { StoreUnavailable } from '../../lib/store-error.ts'
import type { TokenStore } from '../../token/token-store.ts'
import { type Connection, read } from './connection.ts'
import { eq, sql } from './drizzle.ts'
import { issuance } from './schema.ts'

export function createTokenStore({ db, acts }: Connection): TokenStore {
  const { placeholder } = sql
  const insert = db
    .insert(issuance)
    .values({
      jti: placeholder('jti'),
      clientId: placeholder('clientId'),
      subject: placeholder('subject'),
      grantType: placeholder('grantType'),
      secretId: placeholder('secretId'),
      audience: placeholder('audience'),
      scope: placeholder('scope'),
      kid: placeholder('kid'),
      expiresAt: placeholder('expiresAt'),
      requestId: placeholder('requestId'),
      address: placeholder('address'),
    })
    .prepare()
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
          const { changes } = insert.run({
            ...record,
            subject: record.subject === record.clientId ? null : record.subject,
            scope: record.scope ?? null,
          })
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

export function toIssuanceRecord(row: typeof issuance.$inferSelect): IssuanceRecord {
  const { subject, scope, requestId, ...rest } = row
  return {
    ...rest,
    requestId: `req_${requestId.replace(/^req_/, '')}`,
    subject: subject ?? row.clientId,
    ...(scope === null ? {} : { scope }),
  }
}
