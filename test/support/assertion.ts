/** Client assertions as clients make them, and as nobody should. */
import { constants, createHmac, generateKeyPairSync, type KeyObject, randomUUID, sign } from 'node:crypto'
import { assertionType } from '../../src/client/private-key-jwt.ts'
import type { Clock } from '../../src/lib/clock.ts'
import { type ForeignAlg, type ForeignKey, parsePublicJwk } from '../../src/oauth/public-jwk.ts'

/** A key pair of a client. */
export interface TestKey {
  readonly alg: ForeignAlg
  readonly kid: string | undefined
  readonly privateKey: KeyObject
  readonly publicKey: ForeignKey
}

/** A fresh key, with a `kid` or without one. RSA takes a while to make. */
export function makeTestKey(alg: ForeignAlg = 'ES256', kid?: string): TestKey {
  const { privateKey, publicKey } = generatePair(alg)
  const jwk = publicKey.export({ format: 'jwk' })
  return { alg, kid, privateKey, publicKey: parsePublicJwk({ ...jwk, ...(kid === undefined ? {} : { kid }) }) }
}

function generatePair(alg: ForeignAlg): { readonly privateKey: KeyObject; readonly publicKey: KeyObject } {
  if (alg === 'ES256') return generateKeyPairSync('ec', { namedCurve: 'P-256' })
  if (alg === 'RS256' || alg === 'PS256') return generateKeyPairSync('rsa', { modulusLength: 2048 })
  return generateKeyPairSync('ed25519')
}

/** The signature of a text by a key, as JWS has it. */
export function signText({ privateKey }: Pick<TestKey, 'privateKey'>, alg: ForeignAlg, text: string): Buffer {
  const bytes = Buffer.from(text)
  if (alg === 'ES256') return sign('sha256', bytes, { key: privateKey, dsaEncoding: 'ieee-p1363' })
  if (alg === 'RS256') return sign('sha256', bytes, privateKey)
  if (alg === 'PS256') {
    return sign('sha256', bytes, { key: privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 })
  }
  return sign(null, bytes, privateKey)
}

type Members = Readonly<Record<string, unknown>>

/** A part of a JWT from an object, or from a text as it is. */
export function encodePart(part: Members | string | Buffer): string {
  const bytes = typeof part === 'string' || Buffer.isBuffer(part) ? part : JSON.stringify(part)
  return Buffer.from(bytes).toString('base64url')
}

/** Any two parts, signed. */
export function signParts(key: TestKey, header: Members | string, claims: Members | string | Buffer): string {
  const input = `${encodePart(header)}.${encodePart(claims)}`
  return `${input}.${signText(key, key.alg, input).toString('base64url')}`
}

/** The same under a MAC. */
export function macParts(secret: string | Buffer, header: Members, claims: Members): string {
  const input = `${encodePart({ ...header, alg: 'HS256' })}.${encodePart(claims)}`
  return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`
}

/** Makes assertions of one client for one issuer. */
export class AssertionMaker {
  readonly clientId: string
  readonly issuer: string
  readonly key: TestKey
  readonly #clock: Pick<Clock, 'nowMilliseconds'>

  constructor(clientId: string, issuer: string, key: TestKey, clock: Pick<Clock, 'nowMilliseconds'>) {
    this.clientId = clientId
    this.issuer = issuer
    this.key = key
    this.#clock = clock
  }

  /** Whole seconds, as the claims have them. */
  get now(): number {
    return Math.floor(this.#clock.nowMilliseconds() / 1000)
  }

  /** Claims of a good assertion; `undefined` takes one away. */
  claims(changes: Members = {}): Members {
    const { clientId: id, now } = this
    return withChanges({ iss: id, sub: id, aud: this.issuer, iat: now, exp: now + 60, jti: randomUUID() }, changes)
  }

  header(changes: Members = {}): Members {
    const { alg, kid } = this.key
    return withChanges({ alg, typ: 'client-authentication+jwt', kid }, changes)
  }

  /** A good assertion, but for what is changed in it. */
  make(claims: Members = {}, header: Members = {}): string {
    return signParts(this.key, this.header(header), this.claims(claims))
  }

  /** The form of a request for a token with it. */
  form(claims: Members = {}, header: Members = {}): Record<string, string> {
    return formOf(this.make(claims, header))
  }
}

function withChanges(members: Members, changes: Members): Members {
  return Object.fromEntries(Object.entries({ ...members, ...changes }).filter(([, value]) => value !== undefined))
}

/** The form of a request for a token with an assertion. */
export function formOf(assertion: string): Record<string, string> {
  return { grant_type: 'client_credentials', ...credentialsOf(assertion) }
}

/** What an assertion adds to a form. */
export function credentialsOf(assertion: string): Record<string, string> {
  return { client_assertion_type: assertionType, client_assertion: assertion }
}
