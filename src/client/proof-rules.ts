import type { ForeignAlg } from '../oauth/public-jwk.ts'
import type { ClientKeys, ClientSettings } from './client.ts'
import { maxKeysPerClient, registeredKeys } from './client-keys.ts'

/**
 * Why a client could not prove itself as it is registered to: one sentence that says what to do. `undefined` when it can.
 */
export function findProofFault({ authMethods, keys, assertionAlg }: ClientSettings): string | undefined {
  if (authMethods.includes('private_key_jwt') && keys === undefined) {
    return 'private_key_jwt takes a key of the client: add `--jwks FILE` or `--jwks-uri URL`'
  }
  if (authMethods.includes('self_signed_tls_client_auth') && !mayHaveCertificate(keys)) {
    return 'self_signed_tls_client_auth takes a certificate of the client: add `--certificate FILE`, or `--jwks-uri URL` of a set that has it in x5c'
  }
  return keys?.kind === 'inline' ? findKeyFault(keys, assertionAlg) : undefined
}

// What is fetched may have one; a file of bare keys never will.
function mayHaveCertificate(keys: ClientKeys | undefined): boolean {
  return keys?.kind === 'uri' || keys?.jwks.some(({ x5c }) => x5c !== undefined) === true
}

function findKeyFault(
  inline: ClientKeys & { readonly kind: 'inline' },
  assertionAlg: ForeignAlg | undefined,
): string | undefined {
  const keys = registeredKeys(inline)
  if (keys.length === 0) return 'a key set without a key proves nothing: name one with a public key in it'
  if (keys.length > maxKeysPerClient)
    return `a client takes at most ${maxKeysPerClient} keys, and there are ${keys.length}`
  if (new Set(keys.map(({ name }) => name)).size < keys.length) {
    return 'two of the keys have the same kid (a key without one is called by its thumbprint): give each its own'
  }
  if (assertionAlg !== undefined && !keys.some(({ key }) => key.fits(assertionAlg))) {
    return `none of the keys can sign with ${assertionAlg}: name another algorithm or other keys`
  }
  return undefined
}
