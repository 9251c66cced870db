/** The programs that are compared: Mayfly, its peers, and the least that the work can cost. */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { askedServer, type Contestant, runningServer } from './compare.ts'
import { type Asking, ask, type LoadRequest } from './load.ts'
import { type Alg, apis, Installation, refreshForm, sendOnce, tokenRequest, verifyToken } from './mayfly.ts'
import type { Bench } from './scenario.ts'
import type { SignatureJob, SignatureResult } from './servers/bare-signature.ts'
import type { Server } from './stage.ts'

const servers = join(import.meta.dirname, 'servers')
export const peerSecret = randomBytes(32).toString('base64url')
export const peerRequest = tokenRequest('billing', peerSecret)
/** Begins a chain of refresh tokens, and goes on with it. */
export const peerBegin: LoadRequest = { ...peerRequest, path: '/bench/refresh-token' }
export const peerRefresh: LoadRequest = { ...peerRequest, body: refreshForm }

/** Whether a program is kept on one core, or has the whole machine. */
export type Cores = 'one' | 'all'

const coreOf = (bench: Bench, cores: Cores): string | undefined => (cores === 'one' ? bench.pinning?.server : undefined)

/** Mayfly as it is shipped: the launcher, default settings, a database in a file. */
export function mayfly(alg: Alg, cores: Cores): Contestant {
  return {
    name: 'Mayfly',
    start: async (bench, generator) => {
      const installation = await Installation.make(bench.stage)
      const request = await installation.addClient('billing', alg)
      const server = await installation.serve(coreOf(bench, cores))
      await verifyToken(server.url, request, { alg, audience: apis[alg], jwksPath: '/.well-known/jwks.json' })
      return runningServer(server, generator, [request], 'Mayfly')
    },
  }
}

/** Starts oidc-provider, with the arguments of its program, and more of its environment. */
export function startPeer(
  bench: Bench,
  args: readonly string[],
  cores: Cores,
  env: Readonly<Record<string, string>> = {},
): Promise<Server> {
  return bench.stage.serve({
    args: [join(servers, 'oidc-provider.ts'), ...args],
    core: coreOf(bench, cores),
    env: { BENCH_SECRET: peerSecret, NODE_ENV: 'production', ...env },
  })
}

export const memoryPeer = 'oidc-provider, memory'
export const sqlitePeer = 'oidc-provider, opaque, SQLite'

export function oidcProviderMemory(alg: Alg, cores: Cores): Contestant {
  return {
    name: memoryPeer,
    start: async (bench, generator) => {
      const server = await startPeer(bench, ['memory', alg], cores)
      await verifyToken(server.url, peerRequest, { alg, audience: apis.ES256, jwksPath: '/jwks' })
      return runningServer(server, generator, [peerRequest], memoryPeer)
    },
  }
}

export function oidcProviderSqlite(): Contestant {
  return {
    name: sqlitePeer,
    start: async (bench, generator) => {
      const file = join(bench.stage.folder(), 'peer.db')
      const server = await startPeer(bench, ['sqlite', file], 'one')
      await verifyOpaque(server.url)
      return runningServer(server, generator, [peerRequest], sqlitePeer)
    },
  }
}

async function verifyOpaque(url: string): Promise<void> {
  const { access_token: token = '' } = (await (await sendOnce(url, peerRequest)).json()) as { access_token?: string }
  const body = new URLSearchParams({ token }).toString()
  const reply = await sendOnce(url, { ...peerRequest, path: '/token/introspection', body })
  const { active, scope } = (await reply.json()) as { active: boolean; scope: string }
  if (!active || scope !== 'invoices:read') throw new Error(`${sqlitePeer}: a token that is not active`)
}

export const bareHttpName = 'bare HTTP form POST'

export const bareHttp: Contestant = bareHttpOf(bareHttpName, { request: peerRequest })

/** Asked in the same way as the others; over TLS with the given files (PEM). Of what it is shown it verifies nothing. */
export function bareHttpOf(name: string, { request, tls }: Asking, tlsFiles?: object): Contestant {
  return {
    name,
    start: async (bench, generator) => {
      const server = await bench.stage.serve({
        args: [join(servers, 'bare-http.ts')],
        core: bench.pinning?.server,
        env: tlsFiles === undefined ? {} : { BENCH_TLS: JSON.stringify(tlsFiles) },
      })
      const { scope } = (await (await sendOnce(server.url, request, tls)).json()) as { scope: string }
      if (scope !== 'invoices:read') throw new Error('the bare server did not read the form')
      return askedServer(server, generator, tls === undefined ? { request } : { request, tls }, name)
    },
  }
}

export const bareGetName = 'bare HTTP GET'

const bareGet: Contestant = {
  name: bareGetName,
  start: async (bench, generator) => {
    const server = await bench.stage.serve({
      args: [join(servers, 'bare-http.ts')],
      core: bench.pinning?.server,
      env: {},
    })
    return runningServer(server, generator, [{ method: 'GET', path: '/document' }], bareGetName)
  },
}

export const bareSignatureName = (alg: Alg): string => `bare ${alg} signature`

export const bareVerificationName = (alg: Alg): string => `bare ${alg} verification`

/** Signatures in a loop; a request is a signature, and latencies are those of one. */
export function bareSignature(alg: Alg): Contestant {
  return bareAct(bareSignatureName(alg), 'sign', alg)
}

/** The same of checking one. */
export function bareVerification(alg: Alg): Contestant {
  return bareAct(bareVerificationName(alg), 'verify', alg)
}

function bareAct(name: string, act: SignatureJob['act'], alg: Alg): Contestant {
  return {
    name,
    start: async ({ stage, pinning }) => {
      const child = stage.fork({ args: [join(servers, 'bare-signature.ts')], core: pinning?.server })
      return {
        pid: child.pid ?? 0,
        measure: async (seconds) => {
          const result = await ask<SignatureResult>(child, { act, alg, seconds } satisfies SignatureJob)
          if (!result.verified) throw new Error(`a wrong ${alg} signature`)
          const { count, cpuMicroseconds } = result
          const milliseconds = (result.seconds * 1000) / count
          return {
            perSecond: count / result.seconds,
            p50Ms: milliseconds,
            p99Ms: milliseconds,
            cpuMicroseconds: cpuMicroseconds / count,
            serverBusy: 1,
            generatorBusy: 0,
          }
        },
        end: () => stage.end(child),
      }
    },
  }
}

/** A document that anybody may read. */
export interface PublicDocument {
  readonly mayflyPath: string
  readonly peerPath: string
  /** Whether what came back is the document. */
  isRight(document: Record<string, unknown>, url: string): boolean
}

export function documentContestants(document: PublicDocument): Contestant[] {
  const get = (path: string): LoadRequest => ({ method: 'GET', path })
  const start = async (server: Server, path: string): Promise<Server> => {
    const body = (await (await sendOnce(server.url, get(path))).json()) as Record<string, unknown>
    if (!document.isRight(body, server.url)) throw new Error(`${path} is not what it should be`)
    return server
  }
  return [
    {
      name: 'Mayfly',
      start: async (bench, generator) => {
        const installation = await Installation.make(bench.stage)
        const server = await start(await installation.serve(bench.pinning?.server), document.mayflyPath)
        return runningServer(server, generator, [get(document.mayflyPath)], 'Mayfly')
      },
    },
    {
      name: memoryPeer,
      start: async (bench, generator) => {
        const server = await start(await startPeer(bench, ['memory', 'ES256'], 'one'), document.peerPath)
        return runningServer(server, generator, [get(document.peerPath)], memoryPeer)
      },
    },
    bareGet,
  ]
}
