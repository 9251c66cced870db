/**
 * JWTs that count once, so that each request needs one of its own: assertions of clients (RFC 7523) and DPoP proofs
 * (RFC 9449). A signature costs the generator as much as the rest of a request, or ten times that with RSA. So a pool of them
 * is made before the load begins; what goes beyond it, and what would be too old, is signed when it is sent.
 */
import { createPrivateKey, type KeyObject, randomBytes, sign } from 'node:crypto'
import type { Asking, LoadRequest } from './load.ts'

/** How they are made. Serialisable: the load generator is another process. */
export interface FreshJwt {
  /** Where a request has it: a parameter of its form, or a header. */
  readonly place: 'client_assertion' | 'DPoP'
  /** `alg` is ES256 or RS256. */
  readonly header: Readonly<Record<string, unknown>>
  /** Those that stay; `jti` and `iat` are added. */
  readonly claims: Readonly<Record<string, unknown>>
  /** From `iat` to `exp`; no `exp` when absent. */
  readonly lifetimeSeconds?: number
  /** PKCS #8, PEM. */
  readonly privateKey: string
}

/** Proofs are good for sixty seconds, by the clock of either server. */
const oldestMilliseconds = 40_000
const mostReady = 60_000

const runId = randomBytes(12).toString('base64url')
let made = 0

/** One request, complete with a JWT of its own. */
export function freshRequest({ request, fresh }: Asking): LoadRequest {
  if (fresh === undefined) return request
  return withJwt(request, fresh.place, signJwt(fresh, createPrivateKey(fresh.privateKey)))
}

function signJwt({ header, claims, lifetimeSeconds }: FreshJwt, key: KeyObject): string {
  made += 1
  const iat = Math.floor(Date.now() / 1000)
  const exp = lifetimeSeconds === undefined ? {} : { exp: iat + lifetimeSeconds }
  const input = `${encode(header)}.${encode({ ...claims, iat, ...exp, jti: `${runId}-${made}` })}`
  const signature = sign('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' })
  return `${input}.${signature.toString('base64url')}`
}

function encode(part: object): string {
  return Buffer.from(JSON.stringify(part)).toString('base64url')
}

/** A request with a JWT in its place. */
export function withJwt(request: LoadRequest, place: FreshJwt['place'], jwt: string): LoadRequest {
  if (place === 'DPoP') return { ...request, headers: { ...request.headers, DPoP: jwt } }
  return { ...request, body: `${request.body ?? ''}&client_assertion=${jwt}` }
}

/** JWTs for one measurement. */
export class JwtPool {
  readonly #kind: FreshJwt
  readonly #key: KeyObject
  readonly #ready: string[] = []
  readonly #begun = performance.now()
  #drawn = 0

  constructor(kind: FreshJwt, count: number) {
    this.#kind = kind
    this.#key = createPrivateKey(kind.privateKey)
    const enough = Math.min(count, mostReady)
    while (this.#ready.length < enough && !this.#isOld) this.#ready.push(signJwt(kind, this.#key))
  }

  draw(): string {
    this.#drawn += 1
    const ready = this.#isOld ? undefined : this.#ready.pop()
    return ready ?? signJwt(this.#kind, this.#key)
  }

  /** How many were asked for so far. */
  get drawn(): number {
    return this.#drawn
  }

  get #isOld(): boolean {
    return performance.now() - this.#begun > oldestMilliseconds
  }
}
