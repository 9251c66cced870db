/**
 * Tokens for clients that prove a key with each request: assertions (RFC 7523), DPoP (RFC 9449), certificates (RFC 8705).
 * Beside the time of its peer stands what the work cannot be done without: the POST, and the signatures alone.
 */

import { hash, X509Certificate } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { calculateJwkThumbprint, exportJWK, exportPKCS8, generateKeyPair, type JWK } from 'jose'
import {
  askedServer,
  type Contestant,
  compare,
  type Outcomes,
  outcomeOf,
  speedRatio,
  toNotes,
  toRows,
} from '../compare.ts'
import {
  bareHttpName,
  bareHttpOf,
  bareSignature,
  bareSignatureName,
  bareVerification,
  bareVerificationName,
  memoryPeer,
  peerRequest,
  peerSecret,
  startPeer,
} from '../contestants.ts'
import { freshRequest } from '../fresh-jwt.ts'
import type { Asking, LoadRequest } from '../load.ts'
import { type Alg, apis, Installation, openRequest, verifyToken } from '../mayfly.ts'
import { clientName, makeParties, type TlsParties } from '../over-tls.ts'
import type { Bench, Scenario, ScenarioResult } from '../scenario.ts'

/** A way to prove a key, at both. */
interface Proof {
  /** Options of `mayfly client create`; files of them go into the folder. */
  register(folder: string): readonly string[]
  /** How oidc-provider has the client. */
  readonly registration: object
  /** How a client asks at this URL; `secret` is the request of a client with a secret. */
  ask(url: string, secret: LoadRequest): Asking
  /** The `cnf` of its tokens. */
  readonly confirmation?: Readonly<Record<string, string>>
  /** What servers serve TLS with. */
  readonly parties?: TlsParties
  /** The algorithm of what is verified for each request; nothing when absent. */
  readonly verifies?: Alg
}

interface KeyPair {
  readonly privateKey: string
  readonly jwk: JWK
}

async function makeKeys(alg: Alg): Promise<KeyPair> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true })
  return { privateKey: await exportPKCS8(privateKey), jwk: await exportJWK(publicKey) }
}

async function assertion(alg: Alg): Promise<Proof> {
  const { privateKey, jwk } = await makeKeys(alg)
  const jwks = { keys: [{ ...jwk, alg, use: 'sig', kid: 'billing-1' }] }
  const type = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'
  return {
    register: (folder) => {
      const file = join(folder, 'client.jwks.json')
      writeFileSync(file, JSON.stringify(jwks))
      return ['--auth-method', 'private_key_jwt', '--jwks', file]
    },
    registration: { token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: alg, jwks },
    ask: (url) => ({
      request: openRequest({ client_assertion_type: type }),
      fresh: {
        place: 'client_assertion',
        header: { alg, typ: 'JWT', kid: 'billing-1' },
        claims: { iss: 'billing', sub: 'billing', aud: url },
        lifetimeSeconds: 120,
        privateKey,
      },
    }),
    verifies: alg,
  }
}

async function dpopProof(): Promise<Proof> {
  const { privateKey, jwk } = await makeKeys('ES256')
  return {
    register: () => ['--dpop-bound'],
    registration: { client_secret: peerSecret, dpop_bound_access_tokens: true },
    ask: (url, request) => ({
      request,
      fresh: {
        place: 'DPoP',
        header: { alg: 'ES256', typ: 'dpop+jwt', jwk },
        claims: { htm: 'POST', htu: `${url}/token` },
        privateKey,
      },
    }),
    confirmation: { jkt: await calculateJwkThumbprint(jwk) },
    verifies: 'ES256',
  }
}

async function certificate(): Promise<Proof> {
  const parties = await makeParties()
  return {
    register: () => ['--auth-method', 'tls_client_auth', '--tls-client-auth-san-dns', clientName],
    registration: {
      token_endpoint_auth_method: 'tls_client_auth',
      tls_client_auth_san_dns: clientName,
      tls_client_certificate_bound_access_tokens: true,
    },
    ask: () => ({ request: openRequest({ client_id: 'billing' }), tls: parties.client }),
    confirmation: { 'x5t#S256': hash('sha256', new X509Certificate(parties.client.cert).raw, 'base64url') },
    parties,
  }
}

function mayfly(proof: Proof): Contestant {
  return {
    name: 'Mayfly',
    start: async (bench, generator) => {
      const installation = await Installation.make(bench.stage)
      const secret = await installation.addClient('billing', 'ES256', proof.register(installation.folder))
      const files = proof.parties?.writeFiles(installation.folder)
      const server = await installation.serve(bench.pinning?.server, files)
      const asking = proof.ask(server.url, secret)
      await verify(server.url, asking, proof, '/.well-known/jwks.json')
      return askedServer(server, generator, asking, 'Mayfly')
    },
  }
}

function peer(proof: Proof): Contestant {
  return {
    name: memoryPeer,
    start: async (bench, generator) => {
      const files = proof.parties === undefined ? {} : { BENCH_TLS: JSON.stringify(proof.parties.server) }
      const env = { BENCH_CLIENT: JSON.stringify(proof.registration), ...files }
      const server = await startPeer(bench, ['memory', 'ES256'], 'one', env)
      const asking = proof.ask(server.url, peerRequest)
      await verify(server.url, asking, proof, '/jwks')
      return askedServer(server, generator, asking, memoryPeer)
    },
  }
}

async function verify(url: string, asking: Asking, { confirmation }: Proof, jwksPath: string): Promise<void> {
  const request = freshRequest(asking)
  const expected = { alg: 'ES256', audience: apis.ES256, jwksPath, confirmation } as const
  await verifyToken(url, request, { ...expected, tls: asking.tls })
  if (asking.fresh !== undefined) await verifyRefused(url, request)
}

/** What was sent before must not count again. */
async function verifyRefused(url: string, { method, path, headers = {}, body = '' }: LoadRequest): Promise<void> {
  const { status } = await fetch(`${url}${path}`, { method, headers, body })
  if (status !== 400 && status !== 401) throw new Error(`${url}${path} answered a replay with ${status}`)
}

// Its form and headers are as long as those of the others; over TLS where they are.
function bare(proof: Proof): Contestant {
  const { fresh, ...asking } = proof.ask('http://127.0.0.1:65535', peerRequest)
  const request = freshRequest({ ...asking, ...(fresh ? { fresh } : {}) })
  return bareHttpOf(bareHttpName, { ...asking, request }, proof.parties?.server)
}

async function run(bench: Bench, proof: Proof): Promise<ScenarioResult> {
  const { verifies } = proof
  const outcomes = await compare(bench, [
    mayfly(proof),
    peer(proof),
    bare(proof),
    ...(verifies === undefined ? [] : [bareVerification(verifies)]),
    bareSignature('ES256'),
  ])
  return { rows: toRows(outcomes), goals: [], notes: [...toShares(outcomes, verifies), ...toNotes(outcomes)] }
}

function toShares(outcomes: Outcomes, verifies: Alg | undefined): string[] {
  const [own, memory] = [outcomeOf(outcomes, 'Mayfly'), outcomeOf(outcomes, memoryPeer)]
  const cpu = (name: string): number => outcomeOf(outcomes, name).cpuMicroseconds
  const names = [...(verifies === undefined ? [] : [bareVerificationName(verifies)]), bareSignatureName('ES256')]
  const signatures = names.reduce((sum, name) => sum + cpu(name), 0)
  const toShare = (least: number): string => (least / own.cpuMicroseconds).toFixed(2)
  const times = [speedRatio(own, memory), memory.cpuMicroseconds / own.cpuMicroseconds, own.p99Ms / memory.p99Ms]
  const [speed, byCpu, p99] = times.map((ratio) => ratio.toFixed(2))
  return [
    `${speed} × oidc-provider in memory, ${byCpu} by CPU; p99 ${p99} of its.`,
    `${toShare(signatures)} of the sum of signatures (CPU of ${names.join(' and ')}).`,
    `${toShare(signatures + cpu(bareHttpName))} of the limit (the same and the bare HTTP form POST).`,
  ]
}

function proofScenario(name: string, title: string, make: () => Promise<Proof>): Scenario {
  return { name, title, byDefault: false, run: async (bench) => run(bench, await make()) }
}

export const assertions = proofScenario(
  'assertions',
  'private_key_jwt, ES256 assertions, one core each; Mayfly with durable records of token and assertion',
  () => assertion('ES256'),
)

export const assertionsRs256 = proofScenario(
  'assertions-rs256',
  'private_key_jwt, RS256 assertions, ES256 tokens, one core each; Mayfly with durable records of token and assertion',
  () => assertion('RS256'),
)

export const dpop = proofScenario(
  'dpop',
  'tokens bound by DPoP, ES256 proofs, client_secret_basic, one core each; Mayfly with durable records of token and proof',
  dpopProof,
)

export const mtls = proofScenario(
  'mtls',
  'tls_client_auth over native TLS, bound tokens, keep-alive, one core each; Mayfly with a durable audit record a token',
  certificate,
)
