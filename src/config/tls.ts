/** TLS of our own, certificates of clients, and the proxies that are believed. */
import { z } from 'zod/mini'
import type { EndpointSettings } from './endpoint.ts'
import { isCidr, isIssuer } from './hosts.ts'
import { ConfigError, check, path, quote, type SettingReader, type SettingTable } from './setting.ts'

export interface TlsSettings {
  readonly tlsCertFile: string | undefined
  readonly tlsKeyFile: string | undefined
  readonly tlsClientCaFile: string | undefined
  /** The base URL of a host of its own for clients with certificates. */
  readonly mtlsUrl: string | undefined
  readonly trustedProxies: readonly string[]
}

/** Settings of TLS. */
export const tlsSettings = {
  tlsCertFile: {
    variable: 'MAYFLY_TLS_CERT_FILE',
    takes: 'a path',
    meaning:
      'The certificate of this server with those that lead from it to its authority, in PEM; with `MAYFLY_TLS_KEY_FILE` it makes the main port speak TLS 1.2 and 1.3. Both are read again when they change, and connections go on.',
    schema: path,
  },
  tlsKeyFile: {
    variable: 'MAYFLY_TLS_KEY_FILE',
    takes: 'a path',
    meaning: 'The key of that certificate, in PEM without a passphrase. Refused when others can read it.',
    schema: path,
  },
  tlsClientCaFile: {
    variable: 'MAYFLY_TLS_CLIENT_CA_FILE',
    takes: 'a path',
    meaning:
      'The authorities that vouch for certificates of clients (RFC 8705), in PEM. With native TLS clients are asked for certificates; behind `MAYFLY_TRUSTED_PROXIES` it is what forwarded certificates are verified with here. An empty file names none: only certificates that are registered themselves are good.',
    schema: path,
  },
  mtlsUrl: {
    variable: 'MAYFLY_MTLS_URL',
    takes: 'an https URL without trailing slash, query or fragment, with the path of MAYFLY_ISSUER',
    meaning:
      'The base URL of a host of its own where clients are asked for certificates, published as `mtls_endpoint_aliases` (RFC 8705 section 5). Needs `MAYFLY_TLS_CLIENT_CA_FILE` or `MAYFLY_TRUSTED_PROXIES`.',
    schema: check((value) => isIssuer(value) && value.startsWith('https:')),
  },
  trustedProxies: {
    variable: 'MAYFLY_TRUSTED_PROXIES',
    takes: 'IP addresses or CIDR ranges, separated by commas',
    meaning:
      'Peers whose `X-Forwarded-For`, `Client-Cert` and `Client-Cert-Chain` (RFC 9440) are believed, and at `/verify` their `X-Forwarded-Method`, `-Proto`, `-Host` and `-Uri`; from everyone else they are ignored. Such a proxy must remove the first three from what it receives.',
    schema: z.pipe(
      check((value) => splitList(value).every(isCidr)),
      z.transform(splitList),
    ),
  },
} as const satisfies SettingTable

/** @throws ConfigError */
export function readTls(reader: SettingReader): TlsSettings {
  return {
    tlsCertFile: reader.getPath(tlsSettings.tlsCertFile),
    tlsKeyFile: reader.getPath(tlsSettings.tlsKeyFile),
    tlsClientCaFile: reader.getPath(tlsSettings.tlsClientCaFile),
    mtlsUrl: reader.getOptional(tlsSettings.mtlsUrl),
    trustedProxies: reader.getOptional(tlsSettings.trustedProxies) ?? [],
  }
}

function splitList(value: string): readonly string[] {
  return value
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
}

/** @throws ConfigError when half of a pair is missing, or nothing is there to verify with it */
export function checkTls({ tlsCertFile, tlsKeyFile, tlsClientCaFile, trustedProxies }: TlsSettings): void {
  if ((tlsCertFile === undefined) !== (tlsKeyFile === undefined)) {
    throw new ConfigError(
      tlsKeyFile === undefined
        ? 'MAYFLY_TLS_CERT_FILE is set without MAYFLY_TLS_KEY_FILE: a certificate takes its key'
        : 'MAYFLY_TLS_KEY_FILE is set without MAYFLY_TLS_CERT_FILE: a key takes its certificate',
    )
  }
  if (tlsClientCaFile === undefined || tlsCertFile !== undefined || trustedProxies.length > 0) return
  throw new ConfigError(
    'MAYFLY_TLS_CLIENT_CA_FILE is set, and no certificate of a client can arrive: it takes MAYFLY_TLS_CERT_FILE and MAYFLY_TLS_KEY_FILE, or MAYFLY_TRUSTED_PROXIES',
  )
}

/** The same endpoints answer there, and they lie under the path of the issuer. @throws ConfigError */
export function checkMtlsUrl(parsed: TlsSettings & EndpointSettings): void {
  const { mtlsUrl, issuer } = parsed
  if (mtlsUrl === undefined) return
  if (!takesCertificates(parsed)) {
    throw new ConfigError(
      `MAYFLY_MTLS_URL is ${quote(mtlsUrl)}, and no certificate of a client can arrive: it takes MAYFLY_TLS_CLIENT_CA_FILE, or MAYFLY_TRUSTED_PROXIES`,
    )
  }
  const path = issuer === undefined ? '/' : new URL(issuer).pathname
  if (new URL(mtlsUrl).pathname !== path) {
    throw new ConfigError(
      `MAYFLY_MTLS_URL is ${quote(mtlsUrl)}: it takes the path of MAYFLY_ISSUER, which is ${path}, for the endpoints lie there under every host`,
    )
  }
}

/** Whether certificates of clients can arrive: in a handshake, or by a proxy. */
export function takesCertificates({ tlsClientCaFile, trustedProxies }: TlsSettings): boolean {
  return tlsClientCaFile !== undefined || trustedProxies.length > 0
}
