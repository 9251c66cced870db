import {
  type AuthenticatedClient,
  authenticateClient,
  type Claim,
  type ProofTools,
  parseClaim,
} from '../client/authenticate.ts'
import type { ClientCertificate } from '../client/certificate.ts'
import type { ReplayStore } from '../client/replay-store.ts'
import type { SecretUse } from '../client/secret-use.ts'
import type { OpenedProof } from '../dpop/proof.ts'
import { OAuthError } from '../oauth/errors.ts'
import type { GrantType } from '../oauth/grant-type.ts'
import type { Parameters } from '../oauth/parameters.ts'
import type { LimitState } from '../oauth/rate-limit.ts'
import type { ReplayUse } from '../oauth/replay.ts'
import type { RegistryView } from '../registry/registry.ts'
import type { CallerAttempt, CallerLimits } from './caller-limits.ts'
import type { RequestRecord } from './request.ts'

/** What an endpoint needs whose callers are clients that prove themselves. */
export interface CallerEndpoint extends ProofTools {
  readonly issuer: string
  readonly secretUse: SecretUse
  readonly replays: Pick<ReplayStore, 'useOnce' | 'findUsed'>
  readonly limits: CallerLimits
}

/** What a request has told of itself so far, for the record of its refusal. */
export interface RequestFacts {
  grantType?: GrantType
  claim?: Claim
  /** The certificate that the request was sent with; looked for where clients prove themselves, and at `/verify`. */
  certificate?: ClientCertificate | undefined
  /** Set once the client has proved itself. */
  client?: AuthenticatedClient
  /** Whether the statements that it proved itself with have counted for this request. */
  isSpent?: boolean
  /** What limits know of it, and whether they have counted it as a request of its client. */
  attempt?: CallerAttempt
  isCounted?: boolean
  /** The refusal that the count ended in. */
  tooMany?: OAuthError | undefined
  /** What its client is told of its limit. */
  limit?: LimitState
  /** Set once the signature of its DPoP proof was found good. */
  proof?: OpenedProof
}

/** Takes the client's claim out of a request. @throws OAuthError as `parseClaim` does */
export function readClaim({ incoming }: RequestRecord, form: Parameters, facts: RequestFacts): Claim {
  const { certificate } = facts
  const claim = parseClaim({ authorization: incoming.headers.authorization, form, certificate })
  facts.claim = claim
  return claim
}

/**
 * Who is asking, by one view of the registry.
 *
 * @throws OAuthError as `authenticateClient` does, or `issuer_changed`, `assertion_replayed`, `too_many_requests`;
 *   StoreUnavailable
 */
export async function authenticateCaller(
  endpoint: CallerEndpoint,
  claim: Claim,
  view: RegistryView,
  facts: RequestFacts,
): Promise<AuthenticatedClient> {
  requireIssuer(view, endpoint.issuer)
  const authenticated = await authenticateClient(claim, view, endpoint)
  facts.client = authenticated
  await requireUnused(endpoint, facts)
  await endpoint.limits.noteProof(facts)
  return authenticated
}

// Before the request counts as one of its client: of many that are sent again at a time, or above the limit, each would else
// hold or keep a place that is the client's. Whether the statements are the first is for the commit to say.
async function requireUnused({ replays }: CallerEndpoint, { client, isSpent }: RequestFacts): Promise<void> {
  if (client === undefined || client.uses.length === 0 || isSpent) return
  const replayed = await replays.findUsed(client.uses)
  if (replayed !== undefined) throw new OAuthError(`${replayed}_replayed`)
}

/** Another process may have accepted another issuer for this database; tokens of the old one must end then. @throws OAuthError `issuer_changed` */
export function requireIssuer(view: RegistryView, issuer: string): void {
  if (view.issuer !== issuer) throw new OAuthError('issuer_changed')
}

/**
 * Makes the statements count that a caller proved itself with, where no token does that: durably, once a request, and before
 * anything happens or is answered on their word.
 *
 * @param more what else came with the request and counts once
 * @throws OAuthError `assertion_replayed`, `proof_replayed`; StoreUnavailable
 */
export async function spendProof(
  { replays }: CallerEndpoint,
  facts: RequestFacts,
  ...more: readonly (ReplayUse | undefined)[]
): Promise<void> {
  const { client, isSpent } = facts
  const uses = [...(client?.uses ?? []), ...more.filter((use) => use !== undefined)]
  if (uses.length === 0 || isSpent) return
  const replayed = await replays.useOnce(uses)
  if (replayed !== undefined) throw new OAuthError(`${replayed}_replayed`)
  facts.isSpent = true
}

/** Notes that the secret of a caller was used, once its request was served. */
export function noteUse({ secretUse }: CallerEndpoint, { client }: RequestFacts): void {
  const used = client?.client.secrets.find((secret) => secret.secretId === client.credentialId)
  if (used !== undefined) secretUse.note(used.secretId, used.lastUsedAt)
}
