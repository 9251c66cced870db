/** The mark that a copy leaves in a database, and the triggers that it makes there (`store/copy/copy.ts`). */
import type { CopyState } from '../copy/sides.ts'
import { mostChanges, requireHere } from '../copy/state.ts'
import { allTables, type CopyTable, rowTables } from '../copy/tables.ts'
import type { CopyConnection } from './copy-connection.ts'
import type { Database } from './database.ts'

export const selectState = `SELECT state, copy_id AS "copyId", store_id AS "storeId", other, at, event_id AS "eventId" FROM copy_state`

/** Where a store has gone, in a statement that reads: `NULL` where it is still here. */
export const movedTo = `(SELECT other FROM copy_state WHERE state = 'left')`

/** How long others may wait for a trigger to be taken away. */
const dropMilliseconds = 200

/** What PostgreSQL calls a write that comes too late. */
const refused = 'MF001'

export async function readCopyState(connection: CopyConnection): Promise<CopyState | undefined> {
  const [row] = await connection.query(selectState)
  return row as CopyState | undefined
}

/** @throws StoreOpenError unless the store lives in this database; StoreUnavailable */
export async function requireStoreHere(database: Database, location: string): Promise<void> {
  const [row] = await database.read({ text: selectState })
  requireHere(row as CopyState | undefined, location)
}

// A statement takes its locks before it begins, and a function that is volatile sees what was committed until then. So whoever
// had to wait for the last transaction of a copy finds here that it is over.
const guard = `CREATE OR REPLACE FUNCTION copy_guard() RETURNS trigger LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  found copy_state%ROWTYPE;
BEGIN
  SELECT * INTO found FROM copy_state;
  IF found.state = 'left' THEN
    RAISE EXCEPTION 'the database has moved to %', found.other USING ERRCODE = '${refused}';
  ELSIF found.state = 'arrived' OR (found.state = 'arriving' AND TG_TABLE_NAME = 'installation') THEN
    RAISE EXCEPTION 'the database is an incomplete copy of %', found.other USING ERRCODE = '${refused}';
  END IF;
  RETURN NULL;
END
$$`

// Numbers have gaps; one in a thousand looks how many there are.
const log = `CREATE OR REPLACE FUNCTION copy_log() RETURNS trigger LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  changed jsonb;
  key jsonb := '[]';
  number bigint;
BEGIN
  IF NOT EXISTS (SELECT FROM copy_state WHERE state = 'leaving') THEN RETURN NULL; END IF;
  changed := CASE TG_OP WHEN 'DELETE' THEN to_jsonb(OLD) ELSE to_jsonb(NEW) END;
  FOR i IN 0 .. TG_NARGS - 1 LOOP key := key || jsonb_build_array(changed -> TG_ARGV[i]); END LOOP;
  INSERT INTO copy_change (table_name, key) VALUES (TG_TABLE_NAME, key::text) RETURNING seq INTO number;
  IF number % 1000 = 0 AND number - (SELECT min(seq) FROM copy_change) >= ${mostChanges} THEN
    UPDATE copy_state SET state = 'abandoned' WHERE state = 'leaving';
  END IF;
  RETURN NULL;
END
$$`

function guardOf({ name }: CopyTable): string {
  return `CREATE OR REPLACE TRIGGER copy_guard BEFORE INSERT OR UPDATE OR DELETE ON ${name}
    FOR EACH STATEMENT EXECUTE FUNCTION copy_guard()`
}

function logOf({ name, key }: CopyTable): string {
  return `CREATE OR REPLACE TRIGGER copy_log AFTER INSERT OR UPDATE OR DELETE ON ${name}
    FOR EACH ROW EXECUTE FUNCTION copy_log(${key.map((column) => `'${column.name}'`).join(', ')})`
}

/**
 * Makes the triggers that refuse writes where the store has left or is not wholly there; with `logs` those too that write down
 * what is changed. One table after the other, each in a transaction of its own: nobody is held up who works on another one.
 */
export async function createTriggers(connection: CopyConnection, { logs }: { readonly logs: boolean }): Promise<void> {
  await connection.script(`${guard}; ${log}`)
  for (const table of allTables) await connection.script(guardOf(table))
  if (logs) for (const table of rowTables) await connection.script(logOf(table))
}

/** Whether nobody has taken a trigger away since both kinds were made. */
export async function hasAllTriggers(connection: CopyConnection): Promise<boolean> {
  const [row] = await connection.query(
    `SELECT count(*) AS made FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid
     WHERE tgname IN ('copy_guard', 'copy_log') AND tgenabled <> 'D' AND relnamespace = current_schema()::regnamespace`,
  )
  return row?.made === allTables.length + rowTables.length
}

/** Takes the triggers away, where nobody is in the way: they do nothing any more. Those of a later run stay. */
export async function dropTriggers(connection: CopyConnection): Promise<void> {
  try {
    for (const { name } of allTables)
      await drop(connection, `DROP TRIGGER IF EXISTS copy_guard ON ${name}; DROP TRIGGER IF EXISTS copy_log ON ${name}`)
    await drop(connection, 'DROP FUNCTION IF EXISTS copy_guard(); DROP FUNCTION IF EXISTS copy_log()')
  } catch {
    // The next copy makes them anew.
  }
}

// Whoever reads a table for long, as a backup does, is in the way, and all others would wait behind this.
function drop(connection: CopyConnection, statements: string): Promise<void> {
  return connection.transaction(async () => {
    await connection.script(
      `SET LOCAL lock_timeout = ${dropMilliseconds}; LOCK TABLE copy_state IN SHARE ROW EXCLUSIVE MODE`,
    )
    if ((await readCopyState(connection)) === undefined) await connection.script(statements)
  })
}
