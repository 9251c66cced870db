/** What happened in a run, as the database and the recorder have it. */
import type { SigningAlg } from '../../src/key/signer.ts'
import { ulidMilliseconds } from '../../src/lib/id.ts'
import type { RigDatabase } from '../rig-database.ts'

/** Something that was committed, in the order of the commits. Times are milliseconds since the epoch. */
export interface Commit {
  readonly position: number
  readonly kind: 'token' | 'staged' | 'activated' | 'retiring' | 'retired' | 'compromised'
  readonly kid: string
  /** Of a token, when it was signed; of a change to a key, when it was written. */
  readonly at: number
  /** The registry sequence before it: all changes of one transition have the same. */
  readonly sequence: number
  /** The state of the key in the database at that moment. */
  readonly state: string | null
  /** Of a token alone. */
  readonly token?: { readonly jti: string; readonly expiresAt: number }
}

export interface KeyTimes {
  readonly kid: string
  readonly alg: SigningAlg
  readonly publishedAt: number
  readonly activatedAt: number | null
}

/** A JWKS as a server answered it, when at least `from` and at most `to` had been committed. */
export interface Snapshot {
  readonly from: number
  readonly to: number
  readonly kids: readonly string[]
  readonly maxAgeSeconds: number
}

export interface History {
  readonly commits: readonly Commit[]
  readonly keys: readonly KeyTimes[]
  readonly snapshots: readonly Snapshot[]
  /** The `kid` of each token that somebody received, by its `jti`. */
  readonly received: ReadonlyMap<string, string>
}

interface Row {
  readonly position: number
  readonly kind: Commit['kind']
  readonly id: string
  readonly kid: string
  readonly state: string | null
  readonly sequence: number
  readonly expires_at: number | null
}

/** Reads the part of a history that lies in the database. */
export async function readHistory(database: RigDatabase): Promise<Pick<History, 'commits' | 'keys'>> {
  const rows = await database.read<Row>(
    'SELECT witness.*, expires_at FROM witness LEFT JOIN issuance ON jti = id ORDER BY position',
  )
  const keys = await database.read<KeyTimes>(
    'SELECT kid, alg, published_at AS "publishedAt", activated_at AS "activatedAt" FROM signing_key',
  )
  return { commits: rows.map(toCommit), keys }
}

function toCommit({ position, kind, id, kid, state, sequence, expires_at }: Row): Commit {
  return {
    position,
    kind,
    kid,
    at: ulidMilliseconds(id),
    sequence,
    state,
    ...(expires_at === null ? {} : { token: { jti: id, expiresAt: expires_at * 1000 } }),
  }
}
