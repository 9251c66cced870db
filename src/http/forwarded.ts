import type { IncomingMessage } from 'node:http'
import type { IsTrustedPeer } from './address.ts'
import { headerValues } from './request.ts'

/** The request that a proxy asks about, as it came to the proxy. */
export interface ForwardedRequest {
  readonly method: string
  readonly url: string
}

/** Finds out which request a proxy asks about; `undefined` when it has not said so, or is not believed. */
export type ForwardedRequestOf = (incoming: IncomingMessage) => ForwardedRequest | undefined

/**
 * By name, what a value may be. A list in one of them is what several hops have written: nobody can tell which is right. A path
 * and a query may have commas of their own (RFC 3986 section 3.3); what could begin another URI behind one makes it a list.
 */
const forms = {
  'x-forwarded-method': /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}$/,
  'x-forwarded-proto': /^https?$/,
  'x-forwarded-host': /^[A-Za-z0-9.~_%:[\]-]+$/,
  'x-forwarded-uri': /^\/(?:[^\s,]|,(?!\/|https?:))*$/i,
} as const

/**
 * Believes `X-Forwarded-Method`, `-Proto`, `-Host` and `-Uri` of trusted proxies, each of them once. All four come from
 * Traefik and Caddy by themselves; nginx is told to send them.
 */
export function createForwardedRequestOf(isTrusted: IsTrustedPeer): ForwardedRequestOf {
  return (incoming) => {
    if (!isTrusted(incoming)) return undefined
    const read = (name: keyof typeof forms): string | undefined => {
      const [value = '', ...others] = headerValues(incoming, name)
      return others.length === 0 && forms[name].test(value) ? value : undefined
    }
    const [method, proto] = [read('x-forwarded-method'), read('x-forwarded-proto')]
    const [host, uri] = [read('x-forwarded-host'), read('x-forwarded-uri')]
    if (method === undefined || proto === undefined || host === undefined || uri === undefined) return undefined
    return { method, url: `${proto}://${host}${uri}` }
  }
}
