/** Requests as fast as they are answered: tokens and public documents, Mayfly beside its peers and the machine's limit. */
import { compare, type Outcomes, outcomeOf, speedRatio, toNotes, toRows } from '../compare.ts'
import {
  bareGetName,
  bareHttp,
  bareHttpName,
  bareSignature,
  bareSignatureName,
  documentContestants,
  mayfly,
  memoryPeer,
  oidcProviderMemory,
  oidcProviderSqlite,
  type PublicDocument,
  sqlitePeer,
} from '../contestants.ts'
import type { Alg } from '../mayfly.ts'
import { atLeast, atMost, type Goal, type Scenario, type ScenarioResult } from '../scenario.ts'

/** Share of the machine's limit that Mayfly reaches: processor time of the least work, in that of Mayfly. */
function shareOfLimit(outcomes: Outcomes, alg: Alg): number {
  const cpu = (name: string): number => outcomeOf(outcomes, name).cpuMicroseconds
  return (cpu(bareHttpName) + cpu(bareSignatureName(alg))) / cpu('Mayfly')
}

function toResult(outcomes: Outcomes, goals: readonly Goal[]): ScenarioResult {
  return { rows: toRows(outcomes), goals, notes: toNotes(outcomes) }
}

export const es256: Scenario = {
  name: 'es256',
  title: 'client_credentials, ES256, one core each; Mayfly with a durable audit record a token',
  byDefault: true,
  run: async (bench) => {
    const outcomes = await compare(bench, [
      mayfly('ES256', 'one'),
      oidcProviderMemory('ES256', 'one'),
      oidcProviderSqlite(),
      bareHttp,
      bareSignature('ES256'),
    ])
    const own = outcomeOf(outcomes, 'Mayfly')
    const memory = outcomeOf(outcomes, memoryPeer)
    return toResult(outcomes, [
      atLeast('at least 3 × oidc-provider in memory', speedRatio(own, memory), 3),
      atLeast('at least 5 × oidc-provider on SQLite', speedRatio(own, outcomeOf(outcomes, sqlitePeer)), 5),
      atLeast('at least 0.7 of the limit (CPU of bare HTTP and bare signature)', shareOfLimit(outcomes, 'ES256'), 0.7),
      atMost('p99 at most a third of that of oidc-provider in memory', own.p99Ms / memory.p99Ms, 1 / 3),
    ])
  },
}

export const rs256: Scenario = {
  name: 'rs256',
  title: 'client_credentials, RS256, one core each; Mayfly with a durable audit record a token',
  byDefault: true,
  run: async (bench) => {
    const outcomes = await compare(bench, [
      mayfly('RS256', 'one'),
      oidcProviderMemory('RS256', 'one'),
      bareHttp,
      bareSignature('RS256'),
    ])
    const own = outcomeOf(outcomes, 'Mayfly')
    const signature = outcomeOf(outcomes, bareSignatureName('RS256'))
    const result = toResult(outcomes, [
      atLeast('at least 0.65 of the bare signature rate', speedRatio(own, signature), 0.65),
    ])
    const share = shareOfLimit(outcomes, 'RS256').toFixed(2)
    return { ...result, notes: [...result.notes, `${share} of the limit (CPU of bare HTTP and bare signature).`] }
  },
}

export const rs256AllCores: Scenario = {
  name: 'rs256-all-cores',
  title: 'client_credentials, RS256, with every core; the load generator takes its part of them',
  byDefault: true,
  run: async (bench) => {
    const outcomes = await compare(bench, [mayfly('RS256', 'all'), oidcProviderMemory('RS256', 'all')])
    const ratio = speedRatio(outcomeOf(outcomes, 'Mayfly'), outcomeOf(outcomes, memoryPeer))
    return toResult(outcomes, [atLeast('at least 1.6 × oidc-provider in memory', ratio, 1.6)])
  },
}

function documentScenario(name: string, title: string, document: PublicDocument): Scenario {
  return {
    name,
    title,
    byDefault: true,
    run: async (bench) => {
      const outcomes = await compare(bench, documentContestants(document))
      const peer = outcomeOf(outcomes, memoryPeer)
      const ratio = speedRatio(outcomeOf(outcomes, 'Mayfly'), peer)
      const result = toResult(outcomes, [atLeast('at least 2.5 × oidc-provider', ratio, 2.5)])
      const limit = speedRatio(outcomeOf(outcomes, bareGetName), peer).toFixed(2)
      return { ...result, notes: [...result.notes, `The bare GET is ${limit} × oidc-provider: more is not to be had.`] }
    },
  }
}

export const jwks = documentScenario('jwks', 'GET of the JWKS, one core each', {
  mayflyPath: '/.well-known/jwks.json',
  peerPath: '/jwks',
  isRight: ({ keys }) => Array.isArray(keys) && keys.length >= 2 && keys.every(({ kid, d }) => kid && d === undefined),
})

export const metadata = documentScenario('metadata', 'GET of the metadata, one core each', {
  mayflyPath: '/.well-known/openid-configuration',
  peerPath: '/.well-known/openid-configuration',
  isRight: ({ issuer, token_endpoint }, url) => issuer === url && token_endpoint === `${url}/token`,
})
