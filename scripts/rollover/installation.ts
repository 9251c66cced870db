/** The installation of a run: keys, an API for each algorithm, one client of both, and a witness of the order of commits. */
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { prepareApp } from '../../src/app.ts'
import { generateSecret } from '../../src/client/client-secret.ts'
import { parseSettings } from '../../src/config.ts'
import { signingAlgs } from '../../src/key/signer.ts'
import { silentLog } from '../../src/lib/log.ts'
import { openStore } from '../../src/store/open-store.ts'
import type { FastClock } from './fast-clock.ts'
import { audiences } from './plan.ts'

const clientId = 'workload'

/**
 * The database itself writes down what was committed, in the order of the commits, with the registry sequence that it had
 * then and the state of the key: no clock is asked, and no code of the server. All changes of one transition have one
 * sequence, for that is raised at the end.
 */
const witness = `
  CREATE TABLE witness (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    kid TEXT NOT NULL,
    state TEXT,
    sequence INTEGER NOT NULL
  ) STRICT;
  CREATE TRIGGER witness_token AFTER INSERT ON issuance BEGIN
    INSERT INTO witness (kind, id, kid, state, sequence) VALUES ('token', new.jti, new.kid,
      (SELECT state FROM signing_key WHERE kid = new.kid), (SELECT value FROM sequence WHERE name = 'registry'));
  END;
  CREATE TRIGGER witness_key AFTER INSERT ON audit_event
  WHEN new.type IN ('key.staged', 'key.activated', 'key.retiring', 'key.retired', 'key.compromised') BEGIN
    INSERT INTO witness (kind, id, kid, state, sequence) VALUES (substr(new.type, 5), new.id, json_extract(new.detail, '$.kid'),
      (SELECT state FROM signing_key WHERE kid = json_extract(new.detail, '$.kid')),
      (SELECT value FROM sequence WHERE name = 'registry'));
  END;`

/** Makes it in an empty folder. @returns the client's secret */
export async function install(
  folder: string,
  environment: Readonly<Record<string, string>>,
  clock: FastClock,
): Promise<string> {
  const settings = parseSettings(environment, folder)
  // The witness comes before the keys, so that it sees the first ones too.
  await openStore(settings.databasePath, { create: true, examine: false }).close()
  const sqlite = new Database(settings.databasePath)
  sqlite.exec(witness)
  sqlite.close()
  const { store, close } = await prepareApp(settings, { log: silentLog, clock })
  const { secret, secretId, sha256 } = generateSecret()
  for (const alg of signingAlgs) await store.createResource(audiences[alg], { scopes: [], alg }, 'cli:rig')
  await store.createClient(
    clientId,
    {
      name: 'Workload',
      grantTypes: ['client_credentials'],
      authMethods: ['client_secret_basic'],
      scopes: [],
      audiences: Object.values(audiences),
    },
    { kind: 'generated', secretId, sha256 },
    'cli:rig',
  )
  await close()
  return secret.reveal()
}

/** The `Authorization` header of the client. */
export function formatBasic(secret: string): string {
  return `Basic ${Buffer.from(`${clientId}:${secret}`).toString('base64')}`
}

/** Where the database of a folder lies. */
export function databasePath(folder: string): string {
  return join(folder, 'data/mayfly.db')
}
