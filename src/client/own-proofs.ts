import { parsePublicJwk } from '../oauth/public-jwk.ts'
import type { ClientProofSettings } from './client.ts'

/**
 * What a client can prove itself with besides secrets, each by a name that gives nothing away: its keys by thumbprint
 * (RFC 7638), or the URL that they are fetched from, and the name that its certificate must have.
 */
export function ownProofs({ keys, tlsSubject }: ClientProofSettings): readonly string[] {
  const named = keys?.kind === 'inline' ? keys.jwks.map((jwk) => `key_${parsePublicJwk(jwk).thumbprint}`) : []
  const fetched = keys?.kind === 'uri' ? [keys.uri] : []
  const subject = tlsSubject === undefined ? [] : [`tls_client_auth_${tlsSubject.kind}=${tlsSubject.value}`]
  return [...named, ...fetched, ...subject]
}
