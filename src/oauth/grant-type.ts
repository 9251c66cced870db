/** Grant types that Mayfly implements, by their name on the wire. */
export const grantTypes = ['client_credentials', 'refresh_token'] as const

export type GrantType = (typeof grantTypes)[number]

export function isGrantType(text: string): text is GrantType {
  return (grantTypes as readonly string[]).includes(text)
}
