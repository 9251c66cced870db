import { StoreOpenError } from '../store.ts'
import { DatabaseFailure } from './failure.ts'

/** Failures that somebody can do something about, by what PostgreSQL or the operating system calls them. */
const advice: readonly (readonly [RegExp, string])[] = [
  [/^28/, 'refuses the user or the password: look at MAYFLY_DATABASE_URL, and at pg_hba.conf of the server'],
  [/^3D000$/, 'does not exist: make it with `createdb`, or give MAYFLY_DATABASE_URL another name'],
  [/^42501$/, 'does not let this user do that: let the user own the database (`ALTER DATABASE … OWNER TO …`)'],
  [/^53300$/, 'has no connection left: raise max_connections, or put a pooler in front of it'],
  [/^(?:53100|53200)$/, 'has no room left: make room on its disk and try again'],
  [/^25006$/, 'is a copy that cannot be written: point MAYFLY_DATABASE_URL at the primary'],
  [
    /^(?:57P|ECONNREFUSED|ECONNRESET|EHOSTUNREACH|ENETUNREACH|ETIMEDOUT|EPIPE)/,
    'does not answer: is the server running?',
  ],
  [/^(?:ENOTFOUND|EAI_AGAIN)$/, 'has a host name that is not known: look at MAYFLY_DATABASE_URL'],
]

/** What went wrong with a database, as one sentence that says what to do; what is not known, as it is. */
export function explainDatabase(error: unknown, location: string): unknown {
  const failure = error instanceof DatabaseFailure ? error.cause : error
  const code = codeOf(failure)
  const known = advice.find(([pattern]) => pattern.test(code))
  if (known !== undefined) return new StoreOpenError(`${location} ${known[1]} (${code})`, { cause: error })
  if (!(error instanceof DatabaseFailure)) return error
  const why = failure instanceof Error ? failure.message : String(failure)
  return new StoreOpenError(
    `${location} cannot be used (${why}): look at MAYFLY_DATABASE_URL and at the server's log`,
    {
      cause: error,
    },
  )
}

// Where a name has several addresses, Node says why each of them failed.
function codeOf(error: unknown): string {
  const all = error instanceof AggregateError ? [error, ...error.errors] : [error]
  const coded = all.find((each) => each instanceof Error && 'code' in each && typeof each.code === 'string')
  return coded?.code ?? ''
}
