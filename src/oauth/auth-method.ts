/** Ways in which a client can authenticate, by their registered names (RFC 7591 section 2). */
export const authMethods = [
  'client_secret_basic',
  'client_secret_post',
  'private_key_jwt',
  'tls_client_auth',
  'self_signed_tls_client_auth',
] as const

export type AuthMethod = (typeof authMethods)[number]

/** Those that prove a client by a secret that it shares with us. */
export const secretMethods = ['client_secret_basic', 'client_secret_post'] as const satisfies readonly AuthMethod[]

/** Those that prove a client by the certificate of its connection (RFC 8705 section 2). */
export const certificateMethods = [
  'tls_client_auth',
  'self_signed_tls_client_auth',
] as const satisfies readonly AuthMethod[]

export function isCertificateMethod(method: AuthMethod): boolean {
  return (certificateMethods as readonly AuthMethod[]).includes(method)
}

export function isSecretMethod(method: AuthMethod): boolean {
  return (secretMethods as readonly AuthMethod[]).includes(method)
}

export function isAuthMethod(text: string): text is AuthMethod {
  return (authMethods as readonly string[]).includes(text)
}
