/**
 * Clients that prove themselves by the certificate of their connection, in one of two ways: an authority vouches for the one
 * registered name, or the certificate itself is registered. A request looks the same for both, so the registration says which
 * it is. The client is always named in the form: a certificate may be that of many.
 *
 * @see RFC 8705 section 2
 */
import type { AuthMethod } from '../oauth/auth-method.ts'
import type { Confirmation } from '../oauth/confirmation.ts'
import { OAuthError, type Reason } from '../oauth/errors.ts'
import { OutboundError } from '../outbound/outbound-error.ts'
import type { RemoteKeys } from '../outbound/remote-keys.ts'
import type { ClientCertificate } from './certificate.ts'
import type { Client, TlsSubject } from './client.ts'
import { type ClientKey, findClientKeys } from './client-keys.ts'
import type { ClientAuthMethod, CredentialRequest } from './methods.ts'
import { hasSubject } from './tls-subject.ts'

/** What a good certificate proved. */
export interface CertificateProof {
  readonly credentialId: `crt_${string}`
  readonly method: AuthMethod
}

type FindKeys = Pick<RemoteKeys<ClientKey>, 'find'>

const otherCredentials = ['client_secret', 'client_assertion', 'client_assertion_type']

// A certificate beside a secret or an assertion is no second method: connections inside a mesh all have one.
function isUsed({ certificate, authorization, form }: CredentialRequest): boolean {
  const hasOther = authorization !== undefined || otherCredentials.some((name) => form.get(name) !== undefined)
  return certificate !== undefined && !hasOther
}

/** `tls_client_auth`, and every claim that rests on a certificate until the registration is known. */
export const tlsClientAuth: ClientAuthMethod = {
  isUsed,

  parse({ certificate, form }) {
    const clientId = form.get('client_id')
    if (clientId === undefined || certificate === undefined) throw new OAuthError('authentication_malformed')
    return { kind: 'certificate', clientId, certificate }
  },
}

/** `self_signed_tls_client_auth`: nothing in a request tells it from the other. */
export const selfSignedTlsClientAuth: ClientAuthMethod = { ...tlsClientAuth, isUsed: () => false }

// In the place of a name that is not registered, so that looking for it costs the same.
const nobody: TlsSubject = { kind: 'subject_dn', value: 'CN=nobody' }

/**
 * What a certificate proves of a client, by the methods that it is registered for.
 *
 * @throws OAuthError `assertion_keys_busy`
 */
export async function proveByCertificate(
  certificate: ClientCertificate,
  client: Client | undefined,
  remoteKeys: FindKeys,
): Promise<CertificateProof | Reason> {
  const methods = client?.authMethods ?? ['tls_client_auth']
  let refusal: Reason = 'authentication_method_not_registered'
  for (const method of methods) {
    if (method !== 'tls_client_auth' && method !== 'self_signed_tls_client_auth') continue
    const found =
      method === 'tls_client_auth'
        ? judgeName(certificate, client?.tlsSubject)
        : await judgeRegistered(certificate, client, remoteKeys)
    if (found === undefined) return { credentialId: `crt_${certificate.thumbprint}`, method }
    refusal = found
  }
  return refusal
}

// Whoever is called like nobody is nobody's client: an offboarded one has lost its name and may be enabled again.
function judgeName(certificate: ClientCertificate, subject: TlsSubject | undefined): Reason | undefined {
  const hasName = hasSubject(certificate, subject ?? nobody)
  if (!certificate.isTrusted) return 'certificate_untrusted'
  return hasName && subject !== undefined ? undefined : 'certificate_wrong'
}

// The whole certificate is compared, not its key: a certificate that was replaced is not good any more (RFC 8705 section 2.2).
// Nothing is fetched for a client that is disabled: whoever names it would else make us ask.
async function judgeRegistered(
  { der }: ClientCertificate,
  client: Client | undefined,
  remoteKeys: FindKeys,
): Promise<Reason | undefined> {
  if (client?.status !== 'active') return 'certificate_wrong'
  try {
    const found = await findClientKeys(client, remoteKeys, ({ certificate }) => certificate === der)
    return found.length > 0 ? undefined : 'certificate_wrong'
  } catch (error) {
    if (!(error instanceof OutboundError)) throw error
    if (error.failure === 'busy') throw new OAuthError('assertion_keys_busy', { cause: error })
    return 'certificate_keys_unavailable'
  }
}

/**
 * What a token is bound to because of a certificate. A client that is registered for it gets no other token, however it proved
 * itself; and what a refresh token was bound to stays bound, to the certificate of now (RFC 8705 section 4).
 *
 * @param before the binding of the refresh token that is used
 * @throws OAuthError `certificate_missing`
 * @see RFC 8705 sections 3.1 and 3.4
 */
export function bindToCertificate(
  { certificateBound }: Pick<Client, 'certificateBound'>,
  certificate: ClientCertificate | undefined,
  before?: Confirmation,
): Confirmation | undefined {
  if (certificateBound !== true && before?.['x5t#S256'] === undefined) return undefined
  if (certificate === undefined) throw new OAuthError('certificate_missing')
  return { 'x5t#S256': certificate.thumbprint }
}
