// The flows of one server over HTTP, which `npm test` runs on SQLite, on PostgreSQL. Those of several nodes, and of faults of that
// database, are part of `npm test` (test/flows/{nodes,postgres,slow-database,…}.test.ts).
import { defineConfig } from 'vitest/config'

const flows = [
  'client-authentication',
  'client-credentials',
  'documents',
  'dpop',
  'fence',
  'http',
  'introspection',
  'jwks-uri',
  'key-ring',
  'mtls',
  'mtls-proxy',
  'private-key-jwt',
  'quotas',
  'rate-limits',
  'refresh',
  'refresh-clock',
  'refresh-paused',
  'refusals',
  'revocation',
  'rotation',
  'verify',
  'verify-dpop',
]

/** What is of SQLite alone, by the names of tests. */
const others = [
  // They break statements of SQLite, or hold its locks: test/store/postgres-faults.test.ts does that to PostgreSQL.
  'that fails alone',
  'that takes the transaction along',
  'that is swallowed',
  'that lets nobody read or write',
  'is told of again until it could be recorded',
  'answers again without the record or the signature',
  'of a generation that the store has not reached',
  'RT-02 ends its family although',
  // It counts open descriptors, and connections to PostgreSQL are some.
  'H06 lets go of peers that never close',
  // What another process has ended counts there at the next request, here within a bound: test/flows/nodes.test.ts.
  'IN-05 G27',
  'I6 is of this moment when another process',
  'G28 lets the stricter',
  'JK-05 knows nothing of the tokens',
  'RV-06 I6 counts in another process',
  'turns a thousand and one',
  // Its changes follow upon each other without a way to a server between.
  'answers 503 when the registry moves for more',
]

export default defineConfig({
  test: {
    include: flows.map((name) => `test/flows/${name}.test.ts`),
    testNamePattern: new RegExp(`^(?!.*(?:${others.join('|')}))`),
    env: { TEST_STORE: 'postgres' },
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
})
