/** DPoP proofs as a client makes them, and as nobody should. */
import { constants, generateKeyPairSync, hash, type KeyObject, randomUUID, sign } from 'node:crypto'
import { type ForeignAlg, parsePublicJwk } from '../../src/oauth/public-jwk.ts'

/** A key of a client, whose private half the test has. */
export interface ProofKey {
  readonly alg: ForeignAlg
  readonly privateKey: KeyObject
  readonly jwk: Readonly<Record<string, unknown>>
  /** Its thumbprint. */
  readonly jkt: string
}

export function makeProofKey(alg: ForeignAlg = 'ES256'): ProofKey {
  const { privateKey, publicKey } = makePair(alg)
  const jwk = { ...publicKey.export({ format: 'jwk' }) }
  return { alg, privateKey, jwk, jkt: parsePublicJwk(jwk).thumbprint }
}

function makePair(alg: ForeignAlg): { readonly privateKey: KeyObject; readonly publicKey: KeyObject } {
  if (alg === 'ES256') return generateKeyPairSync('ec', { namedCurve: 'P-256' })
  if (alg === 'RS256' || alg === 'PS256') return generateKeyPairSync('rsa', { modulusLength: 2048 })
  return generateKeyPairSync('ed25519')
}

/** A JWS signature. */
export function signWith({ alg, privateKey }: Pick<ProofKey, 'alg' | 'privateKey'>, input: string): Buffer {
  const bytes = Buffer.from(input)
  switch (alg) {
    case 'ES256':
      return sign('sha256', bytes, { key: privateKey, dsaEncoding: 'ieee-p1363' })
    case 'RS256':
      return sign('sha256', bytes, privateKey)
    case 'PS256':
      return sign('sha256', bytes, { key: privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 })
    case 'Ed25519':
    case 'EdDSA':
      return sign(null, bytes, privateKey)
  }
}

/** What a proof says. A member that is `undefined` is left out. */
export interface ProofParts {
  readonly claims?: Readonly<Record<string, unknown>>
  readonly header?: Readonly<Record<string, unknown>>
}

const encode = (text: string): string => Buffer.from(text).toString('base64url')

/** Signs a JWT with a key: parts are JSON texts, so that they can be whatever a test wants. */
export function signRaw(key: Pick<ProofKey, 'alg' | 'privateKey'>, header: string, claims: string): string {
  const input = `${encode(header)}.${encode(claims)}`
  return `${input}.${signWith(key, input).toString('base64url')}`
}

/** A proof for `POST url`, good at `now` (milliseconds), but for what is changed. */
export function makeProof(key: ProofKey, url: string, now: number, { claims, header }: ProofParts = {}): string {
  return signRaw(
    key,
    JSON.stringify({ typ: 'dpop+jwt', alg: key.alg, jwk: key.jwk, ...header }),
    JSON.stringify({ jti: randomUUID(), htm: 'POST', htu: url, iat: Math.floor(now / 1000), ...claims }),
  )
}

/** The `ath` claim for a token (RFC 9449 section 4.2). */
export function athOf(token: string): string {
  return hash('sha256', token, 'base64url')
}

/** Another spelling of an ES256 signature: s becomes n − s, and the proof is as good as before. */
export function malleate(proof: string): string {
  const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
  const [head = '', body = '', tail = ''] = proof.split('.')
  const signature = Buffer.from(tail, 'base64url')
  const s = order - BigInt(`0x${signature.subarray(32).toString('hex')}`)
  const other = Buffer.from(s.toString(16).padStart(64, '0'), 'hex')
  return `${head}.${body}.${Buffer.concat([signature.subarray(0, 32), other]).toString('base64url')}`
}
