/** Who the issuer is, where it listens, and what of that would be unsafe. */
import { z } from 'zod/mini'
import { isHost, isIssuer, isLoopback } from './hosts.ts'
import { ConfigError, check, flag, quote, type SettingReader, type SettingTable } from './setting.ts'
import type { TlsSettings } from './tls.ts'

export interface EndpointSettings {
  /** Absent: `http://127.0.0.1:PORT`, with the port that was listened on. */
  readonly issuer: string | undefined
  readonly host: string
  readonly port: number
  readonly allowInsecureIssuer: boolean
  readonly allowInsecureHttp: boolean
}

/** Settings of the main port. */
export const endpointSettings = {
  issuer: {
    variable: 'MAYFLY_ISSUER',
    takes: 'an https URL without trailing slash, query or fragment, its path of letters, digits and ._~-',
    meaning:
      'The issuer identifier, exact (RFC 8414 section 2): the only source of `iss` and of every URL in the metadata. `http` only on loopback, unless `MAYFLY_ALLOW_INSECURE_ISSUER=true`. Default: `http://127.0.0.1:PORT`. It is stored; another one is refused until `mayfly db accept-issuer` accepts it.',
    schema: check(isIssuer),
  },
  host: {
    variable: 'MAYFLY_HOST',
    default: '127.0.0.1',
    takes: 'an IP address or host name',
    meaning:
      'Where it listens. Another host than loopback needs `MAYFLY_ISSUER`, and TLS (`MAYFLY_TLS_CERT_FILE`), `MAYFLY_TRUSTED_PROXIES` or `MAYFLY_ALLOW_INSECURE_HTTP=true`.',
    schema: check(isHost),
  },
  port: {
    variable: 'MAYFLY_PORT',
    default: '8080',
    takes: 'a whole number from 0 to 65535',
    meaning: 'The port; `0` takes a free one and prints it.',
    schema: z.pipe(
      check((value) => /^[0-9]{1,5}$/.test(value) && Number(value) <= 65_535),
      z.transform(Number),
    ),
  },
} as const satisfies SettingTable

/** What allows another to be unsafe, last in the reference. */
export const insecureSettings = {
  allowInsecureIssuer: {
    variable: 'MAYFLY_ALLOW_INSECURE_ISSUER',
    default: 'false',
    ...flag,
    meaning: 'Accepts an `http` issuer that is not on loopback. Anybody on the path can then replace the JWKS.',
  },
  allowInsecureHttp: {
    variable: 'MAYFLY_ALLOW_INSECURE_HTTP',
    default: 'false',
    ...flag,
    meaning:
      'Accepts plain HTTP on another host than loopback without a proxy. Secrets and tokens then travel in clear.',
  },
} as const satisfies SettingTable

/** @throws ConfigError */
export function readEndpoint(reader: SettingReader): EndpointSettings {
  return {
    issuer: reader.getOptional(endpointSettings.issuer),
    host: reader.get(endpointSettings.host),
    port: reader.get(endpointSettings.port),
    allowInsecureIssuer: reader.get(insecureSettings.allowInsecureIssuer),
    allowInsecureHttp: reader.get(insecureSettings.allowInsecureHttp),
  }
}

/** @throws ConfigError when others could replace the JWKS */
export function checkIssuer({ issuer, allowInsecureIssuer }: EndpointSettings): void {
  if (issuer === undefined || issuer.startsWith('https:') || allowInsecureIssuer) return
  if (isLoopback(new URL(issuer).hostname)) return
  throw new ConfigError(
    `MAYFLY_ISSUER is ${quote(issuer)}: it takes https, for whoever is on the path could replace the JWKS; http is for loopback, or with MAYFLY_ALLOW_INSECURE_ISSUER=true`,
  )
}

/** @throws ConfigError when secrets would travel in clear */
export function checkHost({
  host,
  issuer,
  trustedProxies,
  allowInsecureHttp,
  tlsCertFile,
}: EndpointSettings & TlsSettings): void {
  if (isLoopback(host)) return
  if (issuer === undefined) {
    throw new ConfigError(
      `MAYFLY_HOST is ${JSON.stringify(host)}: another host than loopback takes a MAYFLY_ISSUER, the URL that the outside uses`,
    )
  }
  if (tlsCertFile !== undefined || trustedProxies.length > 0 || allowInsecureHttp) return
  throw new ConfigError(
    `MAYFLY_HOST is ${JSON.stringify(host)}: another host than loopback takes MAYFLY_TRUSTED_PROXIES, the addresses of the proxy that ends TLS, or MAYFLY_TLS_CERT_FILE and MAYFLY_TLS_KEY_FILE, or MAYFLY_ALLOW_INSECURE_HTTP=true`,
  )
}
