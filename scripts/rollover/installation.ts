/** The installation of a run: keys, an API for each algorithm, one client of both, and a witness of the order of commits. */
import { prepareApp } from '../../src/app/prepare.ts'
import { generateSecret } from '../../src/client/client-secret.ts'
import { parseSettings } from '../../src/config/settings.ts'
import { signingAlgs } from '../../src/key/signer.ts'
import { silentLog } from '../../src/lib/log.ts'
import { openStoreAt } from '../../src/store/open-store.ts'
import type { RigDatabase } from '../rig-database.ts'
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

/**
 * The same for PostgreSQL, where several commit at a time. Tokens are written behind the gate that a change of the ring closes
 * before it commits (`store/postgres/fence.ts`), so what is written down when the change commits has its place among them.
 */
const postgresWitness = `
  CREATE TABLE witness (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    id text NOT NULL,
    kid text NOT NULL,
    state text,
    sequence bigint NOT NULL
  );
  CREATE FUNCTION witness(kind text, id text, of text) RETURNS void LANGUAGE sql AS $$
    INSERT INTO witness (kind, id, kid, state, sequence) VALUES (kind, id, of,
      (SELECT state FROM signing_key WHERE kid = of), (SELECT value FROM sequence WHERE name = 'registry'))
  $$;
  CREATE FUNCTION witness_token() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM witness('token', NEW.jti, NEW.kid); RETURN NULL; END
  $$;
  CREATE TRIGGER witness_token AFTER INSERT ON issuance FOR EACH ROW EXECUTE FUNCTION witness_token();
  CREATE FUNCTION witness_key() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM witness(substr(NEW.type, 5), NEW.id, NEW.detail::json ->> 'kid'); RETURN NULL; END
  $$;
  CREATE CONSTRAINT TRIGGER witness_key AFTER INSERT ON audit_event DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
  WHEN (NEW.type IN ('key.staged', 'key.activated', 'key.retiring', 'key.retired', 'key.compromised'))
  EXECUTE FUNCTION witness_key()`

/** Makes it in an empty folder and database. @returns the client's secret */
export async function install(
  folder: string,
  environment: Readonly<Record<string, string>>,
  { clock, database }: { readonly clock: FastClock; readonly database: RigDatabase },
): Promise<string> {
  const settings = parseSettings(environment, folder)
  // The witness comes before the keys, so that it sees the first ones too.
  await (await openStoreAt(settings, { create: true, examine: false })).close()
  await database.run(database.kind === 'sqlite' ? witness : postgresWitness)
  const { store, close } = await prepareApp(settings, { log: silentLog, clock, comparesClocks: false })
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
