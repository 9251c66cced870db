import { onTestFinished } from 'vitest'
import type { Clock } from '../../src/lib/clock.ts'
import { openStoreAt } from '../../src/store/open-store.ts'
import type { Store } from '../../src/store/store.ts'
import { testStore } from '../suites/store.ts'
import { connect, placeOf, usePostgres } from '../support/postgres.ts'

const server = usePostgres()
/** The URLs of stores, which themselves tell their place without a password. */
const urls = new Map<string, string>()

async function open(url: string, clock: Clock): Promise<Store> {
  const store = await openStoreAt(placeOf(url), { create: false, examine: false, clock })
  urls.set(store.location, url)
  onTestFinished(() => store.close())
  return store
}

const urlOf = (store: Store): string => urls.get(store.location) ?? ''

const bodies = {
  statement: `RAISE EXCEPTION 'broken'`,
  transaction: 'PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(9)',
  silently: 'RETURN NULL',
}

testStore('PostgreSQL', {
  batches: false,
  create: async (clock) => open(await server().makeDatabase(), clock),
  openOther: (store, clock) => open(urlOf(store), clock),
  breakInserts: async (store, table, how) => {
    const client = await connect(urlOf(store))
    await client.query(
      `CREATE FUNCTION break() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ${bodies[how]}; END $$;
       CREATE TRIGGER broken BEFORE INSERT ON ${table} FOR EACH ROW EXECUTE FUNCTION break()`,
    )
    return async () => void (await client.query('DROP FUNCTION break CASCADE'))
  },
  holds: async (store, text) => {
    const client = await connect(urlOf(store))
    const { rows } = await client.query('SELECT encrypted_private_key AS half FROM signing_key')
    return rows.filter(({ half }) => (half as Buffer).includes(text)).length
  },
})
