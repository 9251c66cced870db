import type { Scenario } from './scenario.ts'
import { es256, jwks, metadata, rs256, rs256AllCores } from './scenarios/throughput.ts'

/** Every scenario, in the order in which they run. */
export const scenarios: readonly Scenario[] = [es256, rs256, rs256AllCores, jwks, metadata]
