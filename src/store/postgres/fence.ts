/**
 * Why nothing can be issued once a change has returned.
 *
 * A token's record is written by a statement that reads the registry sequence and writes only if that is still the one
 * that the token was decided on. That is not enough by itself: a statement sees the database as it was when the statement
 * began (READ COMMITTED), so one that began before a change could be held up, by a lock or a busy machine, and write after
 * the change has returned. So there is a gate, an advisory lock that belongs to the transaction:
 *
 *   who issues    goes through it (shared), then reads the sequence, then writes, and commits        one statement
 *   who changes   does its work, closes it (exclusive), moves the sequence, and commits               its last message
 *
 * Whoever closes the gate waits until all who went through it have committed, so what they wrote was written before the
 * change returned. Whoever comes to a gate that is closed waits for the commit of the change, and reads the sequence after
 * that: a volatile function takes a new view of the database for each of its statements, so that the one which reads the
 * sequence begins when the gate has been passed. That is why the fence is a function (`registry_fence`, in the first
 * migration) and no subselect. PostgreSQL releases the lock after the commit can be seen, never before.
 *
 * Who waits for the gate stands in a queue, so changes are not starved by those who issue. Locking the counter row itself
 * (FOR SHARE) would do without a function, but who shares a row lock overtakes who waits to change it, and each of n who
 * hold it writes down all n: under load a change waited up to 205 ms, at the gate up to 78 (decision 15).
 *
 * Locks are taken in one order, so that nobody waits in a circle: the registry row (changes, one after the other), the
 * gate, a refresh family, the counter of marks. A change that has to know all tokens that there are closes the gate before
 * it looks. The rare circle that is left (rows of secrets) PostgreSQL finds, and the act is made again.
 */

// `MAYFLY` as a number. Advisory locks belong to the database that a connection is to.
const gate = '84943065992281'

/** Goes through the gate and reads the registry sequence, as an expression. */
export const fence = 'registry_fence()'

/** Closes the gate until the end of the transaction. */
export const closeGate = `SELECT pg_advisory_xact_lock(${gate})`

/** Whoever holds this migrates. */
export const lockMigrations = `SELECT pg_advisory_xact_lock(${gate} + 1)`
