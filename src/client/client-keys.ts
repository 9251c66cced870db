import { type ForeignKey, PublicJwkError, parsePublicJwk } from '../oauth/public-jwk.ts'
import type { RemoteKeys } from '../outbound/remote-keys.ts'
import type { Client, ClientKeys } from './client.ts'

/** Keys that one client can have registered at a time: enough for any overlap and many instances, few enough for a row. */
export const maxKeysPerClient = 20

// More than `maxCertificateBytes` is in base64.
const maxCertificateLength = 16 * 1024

/** A public key of a client, and what a `kid` may call it by: its own `kid`, or its thumbprint when it has none. */
export interface ClientKey {
  readonly name: string
  /** The thumbprint of the key. */
  readonly identity: string
  readonly key: ForeignKey
  /** The certificate that it came with: DER in base64, the first member of `x5c` (RFC 7517 section 4.7). */
  readonly certificate?: string
}

/** A key out of a member of a JWK set. @throws PublicJwkError */
export function parseClientKey(member: unknown): ClientKey {
  const key = parsePublicJwk(member)
  const certificate = certificateOf(member)
  const identity = key.thumbprint
  return { name: key.jwk.kid ?? identity, identity, key, ...(certificate === undefined ? {} : { certificate }) }
}

// It is compared and nothing else, so it need not be one, nor that of the key.
function certificateOf(member: unknown): string | undefined {
  const { x5c } = Object(member) as { readonly x5c?: unknown }
  const [first] = Array.isArray(x5c) ? (x5c as readonly unknown[]) : []
  return typeof first === 'string' && first.length <= maxCertificateLength ? first : undefined
}

/** The same; `undefined` for a member that is no usable key. */
export function readClientKey(member: unknown): ClientKey | undefined {
  try {
    return parseClientKey(member)
  } catch (error) {
    if (error instanceof PublicJwkError) return undefined
    throw error
  }
}

// Taking a key apart costs as much as verifying with it. A client that changes is another object.
const parsed = new WeakMap<object, readonly ClientKey[]>()

/**
 * The keys of a client that fit, fetched where they are published.
 *
 * @throws OutboundError when they could not be fetched
 */
export async function findClientKeys(
  { keys }: Pick<Client, 'keys'>,
  remoteKeys: Pick<RemoteKeys<ClientKey>, 'find'>,
  fits: (key: ClientKey) => boolean,
): Promise<readonly ClientKey[]> {
  if (keys === undefined) return []
  return keys.kind === 'uri' ? remoteKeys.find(keys.uri, fits) : registeredKeys(keys).filter(fits)
}

/** The keys that a client has registered, in order. */
export function registeredKeys(keys: ClientKeys & { readonly kind: 'inline' }): readonly ClientKey[] {
  const known = parsed.get(keys)
  if (known !== undefined) return known
  const made = keys.jwks.map(parseClientKey)
  parsed.set(keys, made)
  return made
}
