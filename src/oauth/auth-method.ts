/** Ways in which a client can authenticate, by their registered names (RFC 7591 section 2). */
export const authMethods = ['client_secret_basic', 'client_secret_post'] as const

export type AuthMethod = (typeof authMethods)[number]

export function isAuthMethod(text: string): text is AuthMethod {
  return (authMethods as readonly string[]).includes(text)
}
