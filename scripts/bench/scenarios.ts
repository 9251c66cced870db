import type { Scenario } from './scenario.ts'
import { clients } from './scenarios/clients.ts'
import { enumeration } from './scenarios/enumeration.ts'
import { flood } from './scenarios/flood.ts'
import { introspection } from './scenarios/introspection.ts'
import { memory } from './scenarios/memory.ts'
import { assertions, assertionsRs256, dpop, mtls } from './scenarios/proofs.ts'
import { families, refresh } from './scenarios/refresh.ts'
import { restart } from './scenarios/restart.ts'
import { start } from './scenarios/start.ts'
import { stores } from './scenarios/stores.ts'
import { es256, jwks, metadata, rs256, rs256AllCores } from './scenarios/throughput.ts'

/** Every scenario, in the order in which they run. */
export const scenarios: readonly Scenario[] = [
  es256,
  rs256,
  rs256AllCores,
  jwks,
  metadata,
  refresh,
  introspection,
  assertions,
  assertionsRs256,
  dpop,
  mtls,
  flood,
  enumeration,
  start,
  restart,
  clients,
  families,
  stores,
  memory,
]
