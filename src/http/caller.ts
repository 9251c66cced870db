import { type AuthenticatedClient, authenticateClient, type Claim, parseClaim } from '../client/authenticate.ts'
import type { ImportedSecretChecker } from '../client/imported-secret.ts'
import type { SecretUse } from '../client/secret-use.ts'
import type { Clock } from '../lib/clock.ts'
import { OAuthError } from '../oauth/errors.ts'
import type { GrantType } from '../oauth/grant-type.ts'
import type { Parameters } from '../oauth/parameters.ts'
import type { RegistryView } from '../registry/registry.ts'
import type { RequestRecord } from './request.ts'

/** What an endpoint needs whose callers are clients that prove themselves. */
export interface CallerEndpoint {
  readonly issuer: string
  readonly checker: ImportedSecretChecker
  readonly secretUse: SecretUse
  /** Tells what has expired. */
  readonly clock: Clock
}

/** What a request has told of itself so far, for the record of its refusal. */
export interface RequestFacts {
  grantType?: GrantType
  claim?: Claim
  /** Set once the client has proved itself. */
  client?: AuthenticatedClient
}

/** Takes the client's claim out of a request. @throws OAuthError as `parseClaim` does */
export function readClaim({ incoming }: RequestRecord, form: Parameters, facts: RequestFacts): Claim {
  const claim = parseClaim({ authorization: incoming.headers.authorization, form })
  facts.claim = claim
  return claim
}

/**
 * Who is asking, by one view of the registry.
 *
 * @throws OAuthError with a reason of `invalid_client`, `secret_check_busy`, `issuer_changed`; StoreUnavailable
 */
export async function authenticateCaller(
  { issuer, checker, clock }: CallerEndpoint,
  claim: Claim,
  view: RegistryView,
  facts: RequestFacts,
): Promise<AuthenticatedClient> {
  requireIssuer(view, issuer)
  const authenticated = await authenticateClient(claim, view, { checker, clock })
  facts.client = authenticated
  return authenticated
}

/** Another process may have accepted another issuer for this database; tokens of the old one must end then. @throws OAuthError `issuer_changed` */
export function requireIssuer(view: RegistryView, issuer: string): void {
  if (view.issuer !== issuer) throw new OAuthError('issuer_changed')
}

/** Notes that the secret of a caller was used, once its request was served. */
export function noteUse({ secretUse }: CallerEndpoint, { client }: RequestFacts): void {
  const used = client?.client.secrets.find((secret) => secret.secretId === client.credentialId)
  if (used !== undefined) secretUse.note(used.secretId, used.lastUsedAt)
}
