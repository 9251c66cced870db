import type { Secret } from '../lib/secret.ts'
import type { AuthMethod } from '../oauth/auth-method.ts'
import type { ParsedJwt } from '../oauth/jwt.ts'
import type { Parameters } from '../oauth/parameters.ts'
import type { ClientCertificate } from './certificate.ts'
import { clientSecretBasic } from './client-secret-basic.ts'
import { clientSecretPost } from './client-secret-post.ts'
import { selfSignedTlsClientAuth, tlsClientAuth } from './mtls.ts'
import { privateKeyJwt } from './private-key-jwt.ts'

/** What a request brought along to prove its client: the `Authorization` header, the form, and the certificate of its connection. */
export interface CredentialRequest {
  readonly authorization: string | undefined
  readonly form: Parameters
  readonly certificate?: ClientCertificate | undefined
}

/** A claim to be a client, with what shall prove it. */
export type PresentedCredentials = { readonly clientId: string } & (
  | { readonly kind: 'secret'; readonly secret: Secret }
  | { readonly kind: 'assertion'; readonly assertion: Secret<ParsedJwt> }
  | { readonly kind: 'certificate'; readonly certificate: ClientCertificate }
)

/** One way to authenticate. A new one is a file beside this and a line in the table below. */
export interface ClientAuthMethod {
  /** Whether the request tries to use it, well or badly. */
  isUsed(request: CredentialRequest): boolean
  /** @throws OAuthError when it is used badly */
  parse(request: CredentialRequest): PresentedCredentials
}

export const methods: Readonly<Record<AuthMethod, ClientAuthMethod>> = {
  client_secret_basic: clientSecretBasic,
  client_secret_post: clientSecretPost,
  private_key_jwt: privateKeyJwt,
  tls_client_auth: tlsClientAuth,
  self_signed_tls_client_auth: selfSignedTlsClientAuth,
}
