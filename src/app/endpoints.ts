/** What the endpoints answer with. */
import { availableParallelism } from 'node:os'
import { RefusalSampler, samplerLimitsFor } from '../audit/sampler.ts'
import { type ClientKey, readClientKey } from '../client/client-keys.ts'
import { checkLimitsFor, ImportedSecretChecker } from '../client/imported-secret.ts'
import { SecretUse } from '../client/secret-use.ts'
import { toBlockList } from '../config/hosts.ts'
import type { Settings } from '../config/settings.ts'
import { takesCertificates } from '../config/tls.ts'
import type { TakeKey } from '../dpop/proof.ts'
import { ProofKeys } from '../dpop/proof-keys.ts'
import { SeenProofs } from '../dpop/seen-proofs.ts'
import { createAddressOf, createIsTrustedPeer } from '../http/address.ts'
import { CallerLimits } from '../http/caller-limits.ts'
import { createCertificateOf } from '../http/client-certificate.ts'
import { createForwardedRequestOf } from '../http/forwarded.ts'
import { createLimitCounts } from '../http/limit-counts.ts'
import type { Metrics } from '../http/metrics.ts'
import { RefusalLog } from '../http/refusal-log.ts'
import type { ServerParts } from '../http/server.ts'
import type { ProofSettings } from '../http/token-proof.ts'
import type { SteadyClock } from '../lib/clock.ts'
import { OAuthError } from '../oauth/errors.ts'
import { DocumentFetcher } from '../outbound/document-fetcher.ts'
import { RemoteKeys } from '../outbound/remote-keys.ts'
import type { Store } from '../store/store.ts'
import { ForgeryAlarm } from '../token/forgery-alarm.ts'
import { TokenIssuer } from '../token/issue.ts'
import { MarkSet } from '../token/marks.ts'
import { QuotaWatch } from '../token/quota-watch.ts'
import { RefreshTickets } from '../token/refresh.ts'
import { TokenVerifier } from '../token/token-verifier.ts'
import { calendarOf, expiryClock } from './clocks.ts'
import { createMetrics } from './gauges.ts'
import type { Parts } from './parts.ts'
import { checkReadiness } from './readiness.ts'

/** What only the start knows. */
export interface Serving {
  readonly issuer: string
  /** By which refresh families live. */
  readonly familyClock: SteadyClock
  isDraining(): boolean
}

/** What the endpoints answer with, and what of it the end has to do with. */
export interface Endpoints {
  readonly server: ServerParts
  readonly secretUse: SecretUse
  readonly fetcher: DocumentFetcher
}

/** Wires what answers requests. */
export function createEndpoints(parts: Parts, serving: Serving): Endpoints {
  const { settings, store, registry, clock, ringClock, log, membership } = parts
  const { issuer } = serving
  const checker = new ImportedSecretChecker(checkLimitsFor(availableParallelism(), membership?.count))
  const metrics = createMetrics(checker, parts)
  const sampler = new RefusalSampler(clock, samplerLimitsFor(membership?.count))
  const refusals = new RefusalLog({ audit: store, sampler, log })
  const fetcher = new DocumentFetcher(parts.outside)
  const counts = membership?.counts ?? createLimitCounts(settings, clock)
  const caller = {
    issuer,
    checker,
    secretUse: new SecretUse(store, clock),
    limits: new CallerLimits({ settings, counts, clock, log, metrics }),
    clock: expiryClock(clock, ringClock),
    assertionAudiences: assertionAudiencesOf(issuer, settings),
    remoteKeys: createRemoteKeys(fetcher, parts, metrics),
    replays: store,
    metrics,
  }
  const tickets = new RefreshTickets(settings, store, serving.familyClock)
  const verifier = new TokenVerifier({
    registry,
    store,
    clock: caller.clock,
    marks: new MarkSet(store, calendarOf(clock, ringClock)),
    alarm: new ForgeryAlarm({ audit: store, log, onForged: () => metrics.forgedTokens.inc() }),
  })
  const proofKeys = new ProofKeys()
  const takeKey: TakeKey = (jwk) => proofKeys.read(jwk)
  const proxies = toBlockList(settings.trustedProxies)
  const isTrustedPeer = createIsTrustedPeer(proxies)
  const server: ServerParts = {
    token: {
      ...caller,
      registry,
      tokens: new TokenIssuer({ ...settings, issuer }, store, tickets, clock),
      tickets,
      quotas: new QuotaWatch({ store, log, onWarned: () => metrics.quotaWarnings.inc() }),
      proofs: proofSettingsOf(settings, issuer, takeKey),
      requireTime: () => requireTime(store),
    },
    revoke: { ...caller, verifier, tickets, store, refusals },
    introspect: { ...caller, verifier, signingAlg: settings.signingAlg },
    verify: {
      issuer,
      verifier,
      metrics,
      clock: caller.clock,
      forwardedRequestOf: createForwardedRequestOf(isTrustedPeer),
      seenProofs: membership?.seenProofs ?? new SeenProofs(),
      takeKey,
    },
    jwksMaxAgeSeconds: settings.jwksMaxAgeSeconds,
    limits: caller.limits,
    refusals,
    metrics,
    readMetrics: membership?.readMetrics ?? (() => metrics.registry.metrics()),
    clock,
    log,
    addressOf: createAddressOf(proxies),
    certificateOf: createCertificateOf({
      isFromProxy: isTrustedPeer,
      authorities: () => parts.tls?.authorities,
      clock: caller.clock,
    }),
    certificates: takesCertificates(settings) ? { mtlsUrl: settings.mtlsUrl } : undefined,
    hasMetricsListener: settings.metricsListen !== undefined,
    checkReadiness: () => checkReadiness(parts, issuer, serving.isDraining()),
  }
  return { server, secretUse: caller.secretUse, fetcher }
}
function proofSettingsOf(
  { dpopNonceRequired: nonceRequired, mtlsUrl }: Settings,
  issuer: string,
  takeKey: TakeKey,
): ProofSettings {
  // And the name that the metadata gives to those who come with a certificate.
  const bases = [issuer, ...(mtlsUrl === undefined ? [] : [mtlsUrl])]
  return { urls: bases.map((base) => `${base}/token`), nonceRequired, takeKey }
}

// The token endpoint under whatever name a client asks it at is not asked for: only ours counts.
function assertionAudiencesOf(issuer: string, { assertionAudience }: Settings): readonly string[] {
  return assertionAudience === 'issuer' ? [issuer] : [issuer, `${issuer}/token`]
}

function createRemoteKeys(fetcher: DocumentFetcher, { clock, log }: Parts, metrics: Metrics): RemoteKeys<ClientKey> {
  return new RemoteKeys({
    fetcher,
    clock,
    parseKey: readClientKey,
    onFetch: (outcome, url) => {
      metrics.keyFetches.inc({ outcome })
      if (outcome !== 'fetched') log.warn({ host: new URL(url).host, outcome }, 'keys of a client not fetched')
    },
  })
}

function requireTime({ clock }: Store): void {
  if (clock.isOff) throw new OAuthError('clock_off')
}
