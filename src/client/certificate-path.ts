/**
 * Whether an authority for clients vouches for a certificate: a path of signatures from it to one of those that the operator
 * named, by the rules of RFC 5280 section 6 as far as clients need them. There is one set of rules, whether a certificate came
 * in a handshake or by a proxy, and it is applied on each request: a connection outlives the end of its certificate, and the
 * authorities of its beginning. The verdict of a handshake is not asked: it knows neither.
 *
 * Signatures, names of issuers and whether one may be an authority are OpenSSL's to tell. What is not understood is refused: a
 * critical extension that is not looked into, and any constraint on names. The work is bounded, for whoever connects chooses
 * how many certificates of one name come along, and how long it takes to verify with their keys.
 */
import { maxIntermediates } from './certificate.ts'
import { type Certificate, extensionIds } from './x509.ts'

const maxSignatures = 12
const maxModulusBits = 8192
const maxExponent = 0xffff_ffffn

/** Extended key usage: TLS client authentication (RFC 5280 section 4.2.1.12). */
const clientAuth = '1.3.6.1.5.5.7.3.2'
const digitalSignature = 0x80
const keyAgreement = 0x08

// Signatures that nobody can forge today: SHA-2 with RSA (PKCS #1) and ECDSA, Ed25519, Ed448.
const signatureAlgs: ReadonlySet<string> = new Set([
  '1.2.840.113549.1.1.11',
  '1.2.840.113549.1.1.12',
  '1.2.840.113549.1.1.13',
  '1.2.840.10045.4.3.2',
  '1.2.840.10045.4.3.3',
  '1.2.840.10045.4.3.4',
  '1.3.101.112',
  '1.3.101.113',
])

const understood: ReadonlySet<string> = new Set([
  extensionIds.keyUsage,
  extensionIds.subjectAlternativeName,
  extensionIds.basicConstraints,
  extensionIds.extendedKeyUsage,
  // Policies are asked for by nobody here, so every one of them will do.
  extensionIds.certificatePolicies,
])

/** A certificate with those that came along to lead from it to an authority. */
export interface Chain {
  readonly leaf: Certificate
  readonly intermediates: readonly Certificate[]
}

/**
 * Until when one of the authorities vouches for the first certificate of a chain, as far as it does now; `undefined` when none
 * does. Moments in milliseconds since the epoch.
 *
 * @see RFC 5280 section 6.1
 */
export function vouchedUntil(
  { leaf, intermediates }: Chain,
  authorities: readonly Certificate[],
  now: number,
): number | undefined {
  if (!isSoundLeaf(leaf, now)) return undefined
  const usable = (certificate: Certificate): boolean => isSoundAuthority(certificate, now)
  const search: Search = {
    anchors: authorities.filter(usable),
    intermediates: intermediates.slice(0, maxIntermediates).filter(usable),
    signaturesLeft: maxSignatures,
  }
  return findEnd(leaf, 0, search)
}

interface Search {
  readonly anchors: readonly Certificate[]
  readonly intermediates: readonly Certificate[]
  signaturesLeft: number
}

// The first end of all on the path to an anchor. `depth`: how many authorities stand below the next one.
function findEnd(certificate: Certificate, depth: number, search: Search): number | undefined {
  const mayStand = ({ pathLength = Number.POSITIVE_INFINITY }: Certificate): boolean => depth <= pathLength
  const signs = (issuer: Certificate): boolean => mayStand(issuer) && isSignedBy(certificate, issuer, search)
  const anchor = search.anchors.find(signs)
  if (anchor !== undefined) return Math.min(certificate.notAfter, anchor.notAfter)
  if (depth === maxIntermediates) return undefined
  for (const issuer of search.intermediates) {
    const end = signs(issuer) ? findEnd(issuer, depth + 1, search) : undefined
    if (end !== undefined) return Math.min(certificate.notAfter, end)
  }
  return undefined
}

function isSignedBy({ x509 }: Certificate, issuer: Certificate, search: Search): boolean {
  if (!x509.checkIssued(issuer.x509) || search.signaturesLeft === 0) return false
  search.signaturesLeft -= 1
  return signatureAlgs.has(x509.signatureAlgorithmOid ?? '') && x509.verify(issuer.x509.publicKey)
}

function isSoundLeaf(certificate: Certificate, now: number): boolean {
  const { keyUsage = digitalSignature } = certificate
  return isSound(certificate, now) && (keyUsage & (digitalSignature | keyAgreement)) !== 0
}

// OpenSSL calls one an authority when its basic constraints say so and its key usage, if it has any, lets it sign certificates.
function isSoundAuthority(certificate: Certificate, now: number): boolean {
  return isSound(certificate, now) && certificate.x509.ca
}

function isSound(certificate: Certificate, now: number): boolean {
  const { x509, notBefore, notAfter, extensions, criticalExtensions } = certificate
  if (now < notBefore || now > notAfter) return false
  if (extensions.has(extensionIds.nameConstraints)) return false
  if ([...criticalExtensions].some((id) => !understood.has(id))) return false
  // Absent, it may be used for anything.
  const usages = extensions.has(extensionIds.extendedKeyUsage) ? (x509.keyUsage ?? []) : [clientAuth]
  return usages.includes(clientAuth) && isStrong(x509)
}

function isStrong({ publicKey }: Certificate['x509']): boolean {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = publicKey
  if (type === 'rsa') {
    const { modulusLength = 0, publicExponent = 0n } = details ?? {}
    return modulusLength >= 2048 && modulusLength <= maxModulusBits && publicExponent <= maxExponent
  }
  if (type === 'ec') return ['prime256v1', 'secp384r1', 'secp521r1'].includes(details?.namedCurve ?? '')
  return type === 'ed25519' || type === 'ed448'
}
