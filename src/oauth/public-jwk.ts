/**
 * Public keys that others give us, and their signatures. A key is taken in a strict form, with its public members alone: one
 * that carries a private or a symmetric part is refused, not stripped, for whoever sends it has let it leak. What is too weak,
 * or no point of its curve, is refused too. Its algorithm follows from its type and is never read from a token alone.
 *
 * @see RFC 7517, RFC 7518 section 6, RFC 8037, RFC 8725 section 3
 */
import { constants, createPublicKey, hash, type KeyObject, type VerifyKeyObjectInput, verify } from 'node:crypto'
import { toDerSignature } from '../lib/der-signature.ts'

/** How others may sign what they send: client assertions and DPoP proofs. The first is what we recommend. */
export const foreignAlgs = ['ES256', 'RS256', 'PS256', 'Ed25519', 'EdDSA'] as const

/** `Ed25519` and `EdDSA` with an Ed25519 key are one algorithm under two names (RFC 9864). */
export type ForeignAlg = (typeof foreignAlgs)[number]

export function isForeignAlg(text: unknown): text is ForeignAlg {
  return (foreignAlgs as readonly unknown[]).includes(text)
}

/** The members that a public key consists of (RFC 7638 section 3.2), and those that say which key it is. */
export type PublicKeyJwk = (
  | { readonly kty: 'EC'; readonly crv: 'P-256'; readonly x: string; readonly y: string }
  | { readonly kty: 'RSA'; readonly n: string; readonly e: string }
  | { readonly kty: 'OKP'; readonly crv: 'Ed25519'; readonly x: string }
) & { readonly kid?: string; readonly alg?: ForeignAlg }

/** A key that was taken, ready to verify with. */
export interface ForeignKey {
  /** Canonical: nothing but the members that count. */
  readonly jwk: PublicKeyJwk
  /** RFC 7638, SHA-256, in base64url: one name for a key, however it was written. */
  readonly thumbprint: string
  /** Whether it may be used with an algorithm. */
  fits(alg: ForeignAlg): boolean
  /** Whether a JWS signature is of this key under an algorithm that it fits, on a signing input (ASCII). */
  verify(alg: ForeignAlg, input: string, signature: Uint8Array): boolean
}

/** Why a key was not taken: one sentence for whoever registers it. */
export class PublicJwkError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'PublicJwkError'
  }
}

const privateMembers = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k']
const minModulusBits = 2048
const maxModulusBits = 8192

/** @throws PublicJwkError */
export function parsePublicJwk(value: unknown): ForeignKey {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new PublicJwkError('it is no JWK object')
  const members = value as Readonly<Record<string, unknown>>
  if (privateMembers.some((name) => name in members)) {
    throw new PublicJwkError(
      'it has a private or symmetric part, which must never leave its owner: send the public half',
    )
  }
  requireUse(members)
  const jwk = { ...readKey(members), ...readNames(members) }
  const key = importKey(jwk)
  const algs = algsOf(jwk)
  if (jwk.alg !== undefined && !algs.includes(jwk.alg)) throw new PublicJwkError('its alg does not fit its type')
  // A key is used with one algorithm, where it names one (RFC 8725 section 3.1).
  const allowed = algs.filter((alg) => jwk.alg === undefined || isSameAlg(alg, jwk.alg))
  return {
    jwk,
    thumbprint: thumbprintOf(jwk),
    fits: (alg) => allowed.includes(alg),
    verify: (alg, input, signature) => allowed.includes(alg) && verifyRaw(alg, key, input, signature),
  }
}

/** Whether two names mean one algorithm. */
export function isSameAlg(one: ForeignAlg, other: ForeignAlg): boolean {
  const edwards = ['Ed25519', 'EdDSA']
  return one === other || (edwards.includes(one) && edwards.includes(other))
}

function requireUse(members: Readonly<Record<string, unknown>>): void {
  if (members.use !== undefined && members.use !== 'sig') throw new PublicJwkError('its use is not sig')
  const { key_ops: operations } = members
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify'))) {
    throw new PublicJwkError('its key_ops do not have verify')
  }
}

function readKey(members: Readonly<Record<string, unknown>>) {
  switch (members.kty) {
    case 'EC':
      if (members.crv !== 'P-256') throw new PublicJwkError('its curve is not P-256')
      return { kty: 'EC', crv: 'P-256', x: readBytes(members, 'x', 32), y: readBytes(members, 'y', 32) } as const
    case 'OKP':
      if (members.crv !== 'Ed25519') throw new PublicJwkError('its curve is not Ed25519')
      return { kty: 'OKP', crv: 'Ed25519', x: readBytes(members, 'x', 32) } as const
    case 'RSA':
      return { kty: 'RSA', n: readBytes(members, 'n'), e: readBytes(members, 'e') } as const
    default:
      throw new PublicJwkError('its kty is none of EC, RSA, OKP')
  }
}

function readNames({ kid, alg }: Readonly<Record<string, unknown>>): Pick<PublicKeyJwk, 'kid' | 'alg'> {
  if (kid !== undefined && (typeof kid !== 'string' || !/^[\x20-\x7E]{1,256}$/.test(kid))) {
    throw new PublicJwkError('its kid is no text of 1 to 256 printable ASCII characters')
  }
  if (alg !== undefined && !isForeignAlg(alg)) throw new PublicJwkError(`its alg is none of ${foreignAlgs.join(', ')}`)
  return { ...(kid === undefined ? {} : { kid }), ...(alg === undefined ? {} : { alg }) }
}

// One spelling for each number: the canonical base64url of its bytes, of a curve's length, or without leading zeros.
function readBytes(members: Readonly<Record<string, unknown>>, name: string, length?: number): string {
  const value = members[name]
  const bytes = Buffer.from(typeof value === 'string' ? value : '', 'base64url')
  const isCanonical = bytes.length > 0 && bytes.toString('base64url') === value
  const isLong = length === undefined ? bytes[0] !== 0 && bytes.length <= maxModulusBits / 8 : bytes.length === length
  if (!isCanonical || !isLong) throw new PublicJwkError(`its ${name} is not the base64url of a number of that key`)
  return bytes.toString('base64url')
}

function importKey(jwk: PublicKeyJwk): KeyObject {
  if (jwk.kty === 'RSA') requireStrongRsa(jwk)
  try {
    return createPublicKey({ key: { ...jwk }, format: 'jwk' })
  } catch {
    throw new PublicJwkError('it is no key: its numbers do not belong together')
  }
}

function requireStrongRsa({ n, e }: { readonly n: string; readonly e: string }): void {
  const modulus = Buffer.from(n, 'base64url')
  const bits = modulus.length * 8 - Math.clz32(modulus[0] ?? 0) + 24
  if (bits < minModulusBits) throw new PublicJwkError(`it is an RSA key of ${bits} bits: at least ${minModulusBits}`)
  const exponent = Buffer.from(e, 'base64url')
  const isOdd = (bytes: Buffer): boolean => ((bytes.at(-1) ?? 0) & 1) === 1
  // An exponent of 1 signs nothing; OpenSSL takes a long time for a very long one.
  if (!isOdd(exponent) || exponent.length > 8 || (exponent.length === 1 && (exponent[0] ?? 0) < 3) || !isOdd(modulus)) {
    throw new PublicJwkError('its RSA modulus or exponent is none')
  }
}

function algsOf(jwk: PublicKeyJwk): readonly ForeignAlg[] {
  if (jwk.kty === 'EC') return ['ES256']
  return jwk.kty === 'RSA' ? ['RS256', 'PS256'] : ['Ed25519', 'EdDSA']
}

function thumbprintOf(jwk: PublicKeyJwk): string {
  const { kty } = jwk
  const required =
    kty === 'RSA'
      ? { e: jwk.e, kty, n: jwk.n }
      : kty === 'EC'
        ? { crv: jwk.crv, kty, x: jwk.x, y: jwk.y }
        : { crv: jwk.crv, kty, x: jwk.x }
  return hash('sha256', JSON.stringify(required), 'base64url')
}

function verifyRaw(alg: ForeignAlg, key: KeyObject, input: string, signature: Uint8Array): boolean {
  const bytes = Buffer.from(input, 'latin1')
  switch (alg) {
    case 'ES256':
      // As with our own: OpenSSL takes DER in two thirds of the time.
      return signature.length === 64 && verify('sha256', bytes, key, toDerSignature(signature))
    case 'RS256':
      return verify('sha256', bytes, key, signature)
    case 'PS256':
      return verify('sha256', bytes, pss(key), signature)
    case 'Ed25519':
    case 'EdDSA':
      return signature.length === 64 && verify(null, bytes, key, signature)
  }
}

// The salt is as long as the hash (RFC 7518 section 3.5).
function pss(key: KeyObject): VerifyKeyObjectInput {
  return { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }
}
