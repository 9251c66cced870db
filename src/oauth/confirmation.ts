/**
 * What a token is bound to: whoever uses it must hold this key, or this certificate's. Both at once: must hold both.
 *
 * @see RFC 7800 section 3.1, RFC 9449 section 6.1, RFC 8705 section 3.1
 */
export interface Confirmation {
  /** The RFC 7638 thumbprint of a DPoP key, in base64url. */
  readonly jkt?: string
  /** The SHA-256 of a certificate's DER, in base64url. */
  readonly 'x5t#S256'?: string
}

const sha256InBase64url = /^[A-Za-z0-9_-]{43}$/

/** What a token shall be bound to, by each of the proofs that came with the request; `undefined` when there was none. */
export function mergeConfirmations(...parts: readonly (Confirmation | undefined)[]): Confirmation | undefined {
  const merged: Confirmation = Object.assign({}, ...parts)
  return Object.keys(merged).length === 0 ? undefined : merged
}

/** One text for each binding, as it is stored; `undefined` for none. */
export function formatConfirmation(confirmation: Confirmation | undefined): string | undefined {
  const { jkt, 'x5t#S256': x5t } = confirmation ?? {}
  if (jkt === undefined && x5t === undefined) return undefined
  return JSON.stringify({ ...(jkt === undefined ? {} : { jkt }), ...(x5t === undefined ? {} : { 'x5t#S256': x5t }) })
}

/** A binding that was stored or stands in a token of ours; `undefined` for anything else. */
export function readConfirmation(value: unknown): Confirmation | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { jkt, 'x5t#S256': x5t, ...others } = value as Readonly<Record<string, unknown>>
  const isThumbprint = (text: unknown): boolean => typeof text === 'string' && sha256InBase64url.test(text)
  if (Object.keys(others).length > 0 || (jkt === undefined && x5t === undefined)) return undefined
  if ((jkt !== undefined && !isThumbprint(jkt)) || (x5t !== undefined && !isThumbprint(x5t))) return undefined
  return {
    ...(jkt === undefined ? {} : { jkt: String(jkt) }),
    ...(x5t === undefined ? {} : { 'x5t#S256': String(x5t) }),
  }
}
