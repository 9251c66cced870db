/** What the command line says of certificates: the name that one must have, certificates that are registered, and the binding. */
import { readFileSync } from 'node:fs'
import { CertificateError } from '../client/certificate.ts'
import type { ClientJwk, ClientSettings, TlsSubject } from '../client/client.ts'
import { tlsSubjectKinds } from '../client/client.ts'
import { isTlsSubject, tlsSubjectForms } from '../client/tls-subject.ts'
import { isCertificateMethod, isSecretMethod } from '../oauth/auth-method.ts'
import { PublicJwkError, parsePublicJwk } from '../oauth/public-jwk.ts'
import { type OptionValues, UsageError } from './command.ts'
import { listOption, quote, textOption } from './values.ts'

type CertificateSettings = Pick<ClientSettings, 'tlsSubject' | 'keys' | 'certificateBound'>

/** The options that `client create` and `client update` share. */
export const certificateOptions = [
  ...tlsSubjectKinds.map((kind) => ({
    flags: `${flagOf(kind)} <${kind === 'subject_dn' ? 'dn' : kind.slice('san_'.length)}>`,
    description: `the name that its certificate must have, for tls_client_auth: ${tlsSubjectForms[kind]}`,
  })),
  {
    flags: '--certificate <file>',
    description: 'a certificate of its own in PEM, for self_signed_tls_client_auth',
    repeats: true,
  },
  {
    flags: '--certificate-bound',
    description:
      'bind its tokens to the certificate that it asks with (default: when a certificate is all that proves it)',
  },
  { flags: '--no-certificate-bound', description: 'give it tokens that are bound to no certificate' },
]

function flagOf(kind: TlsSubject['kind']): string {
  return `--tls-client-auth-${kind.replaceAll('_', '-')}`
}

// As commander names the value of an option.
function optionOf(kind: TlsSubject['kind']): string {
  return flagOf(kind)
    .slice(2)
    .replace(/-(.)/g, (_, letter: string) => letter.toUpperCase())
}

/** What the options say of certificates; what is not said is absent. @throws UsageError */
export async function parseCertificateOptions(options: OptionValues): Promise<CertificateSettings> {
  const tlsSubject = parseTlsSubject(options)
  const files = listOption(options, 'certificate')
  const { certificateBound } = options
  if (files !== undefined && (textOption(options, 'jwks') ?? textOption(options, 'jwksUri')) !== undefined)
    throw new UsageError('--certificate and --jwks or --jwks-uri are both given: a client has its keys from one place')
  return {
    ...(tlsSubject === undefined ? {} : { tlsSubject }),
    ...(files === undefined
      ? {}
      : { keys: { kind: 'inline', jwks: await Promise.all(files.map(readCertificateFile)) } }),
    ...(typeof certificateBound === 'boolean' ? { certificateBound } : {}),
  }
}

// Two names would leave it open whether a certificate needs both of them (RFC 8705 section 2.1.2: exactly one).
function parseTlsSubject(options: OptionValues): TlsSubject | undefined {
  const given = tlsSubjectKinds.flatMap((kind) => {
    const value = textOption(options, optionOf(kind))
    return value === undefined ? [] : [{ kind, value }]
  })
  const [subject, other] = given
  if (subject !== undefined && other !== undefined) {
    throw new UsageError(
      `${flagOf(subject.kind)} and ${flagOf(other.kind)} are both given: a client has exactly one name, keep one of them`,
    )
  }
  if (subject === undefined || isTlsSubject(subject)) return subject
  throw new UsageError(
    `${quote(subject.value)} cannot be registered: ${flagOf(subject.kind)} takes ${tlsSubjectForms[subject.kind]}`,
  )
}

async function readCertificateFile(path: string): Promise<ClientJwk> {
  const der = parsePem(readFile(path), path)
  const { readCertificate } = await import('../client/x509.ts')
  try {
    const { x509, thumbprint } = readCertificate(der)
    const { jwk } = parsePublicJwk(x509.publicKey.export({ format: 'jwk' }))
    // By its own name: a renewed certificate may have the key of the one before.
    return { ...jwk, kid: thumbprint, x5c: [der.toString('base64')] }
  } catch (error) {
    if (error instanceof CertificateError)
      throw new UsageError(`${quote(path)} is no certificate that can be registered: ${error.message}`)
    if (error instanceof PublicJwkError)
      throw new UsageError(
        `the key of the certificate ${quote(path)} cannot be used: ${error.message}; it takes P-256, RSA of 2048 bits, or Ed25519`,
      )
    throw error
  }
}

function readFile(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    throw new UsageError(`${quote(path)} cannot be read: --certificate takes the path of a certificate in PEM`)
  }
}

function parsePem(text: string, path: string): Buffer {
  // It has been read by a program that has no business with it, and may be on its way into a ticket or a repository.
  if (/-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----/.test(text)) {
    throw new UsageError(
      `${quote(path)} holds a private key, which must not leave its owner: give the certificate alone, in a file of its own`,
    )
  }
  const blocks = [...text.matchAll(/-----BEGIN CERTIFICATE-----(?<body>[^-]+)-----END CERTIFICATE-----/g)]
  const [block, ...more] = blocks
  if (block === undefined || more.length > 0) {
    throw new UsageError(
      `${quote(path)} holds ${blocks.length} certificates: --certificate takes a file with one, in PEM, and may be given again`,
    )
  }
  return Buffer.from(block.groups?.body ?? '', 'base64')
}

/** How a client proves itself, and what by. */
export interface Registration {
  readonly authMethods: ClientSettings['authMethods']
  readonly tlsSubject?: TlsSubject | undefined
  readonly keys?: ClientSettings['keys'] | undefined
}

/**
 * Requires that what a client is registered with fits how it proves itself.
 *
 * @throws UsageError
 */
export function requireCertificateSettings(
  clientId: string,
  { authMethods, tlsSubject, keys }: Registration,
  given: CertificateSettings,
): void {
  if (authMethods.includes('tls_client_auth') && tlsSubject === undefined) {
    throw new UsageError(
      `client ${clientId} needs the name that its certificate must have: add one of ${tlsSubjectKinds.map(flagOf).join(', ')}`,
    )
  }
  if (authMethods.includes('self_signed_tls_client_auth') && keys === undefined) {
    throw new UsageError(
      `client ${clientId} needs a certificate: add \`--certificate FILE\`, or \`--jwks-uri URL\` of a set that has it in x5c`,
    )
  }
  refuseUnused(given.tlsSubject !== undefined && !authMethods.includes('tls_client_auth'), 'tls_client_auth')
  refuseUnused(
    given.keys !== undefined && !authMethods.includes('self_signed_tls_client_auth'),
    'self_signed_tls_client_auth',
  )
}

function refuseUnused(isUnused: boolean, method: string): void {
  if (!isUnused) return
  throw new UsageError(
    `the client does not prove itself by ${method}, so that would say nothing: add \`--auth-method ${method}\``,
  )
}

/**
 * Tokens of a client that has a certificate anyway are bound to it: whoever steals one cannot use it, where services look. A
 * client that also has a secret may ask without a certificate, and is not bound unless that is said.
 */
export function defaultBinding(authMethods: ClientSettings['authMethods']): Pick<ClientSettings, 'certificateBound'> {
  const isBound = authMethods.some(isCertificateMethod) && !authMethods.some(isSecretMethod)
  return isBound ? { certificateBound: true } : {}
}
