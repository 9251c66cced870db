import type { AuthenticatedClient } from '../client/authenticate.ts'
import { bindToCertificate } from '../client/mtls.ts'
import { grants } from '../grant/grants.ts'
import { OAuthError } from '../oauth/errors.ts'
import { type GrantType, isGrantType } from '../oauth/grant-type.ts'
import type { Parameters } from '../oauth/parameters.ts'
import type { Registry, RegistryView } from '../registry/registry.ts'
import type { Fence, IssuedToken, TokenIssuer } from '../token/issue.ts'
import type { QuotaWatch } from '../token/quota-watch.ts'
import type { RefreshTickets } from '../token/refresh.ts'
import { authenticateCaller, type CallerEndpoint, noteUse, type RequestFacts, readClaim, spendProof } from './caller.ts'
import { readForm } from './form.ts'
import type { Metrics } from './metrics.ts'
import type { RequestRecord } from './request.ts'
import { answerJson } from './respond.ts'

export interface TokenEndpoint extends CallerEndpoint {
  readonly registry: Registry
  readonly tokens: TokenIssuer
  readonly tickets: RefreshTickets
  readonly quotas: QuotaWatch
  readonly metrics: Metrics
}

/**
 * `POST /token`: the story of one issuance. Checks come in this order: the form, the grant type, the client, whether
 * it may use the grant, the grant's own parameters, resource and scope. What the registry has a say in is decided on
 * one view of it, and again on a newer one if it moved before the token was recorded.
 *
 * @see RFC 6749 sections 3.2, 4.4, 5, 6
 */
export async function answerToken(
  endpoint: TokenEndpoint,
  record: RequestRecord,
  facts: RequestFacts,
): Promise<Response> {
  const form = await readForm(record.incoming)
  const grantType = parseGrantType(form)
  facts.grantType = grantType
  const claim = readClaim(record, form, facts)
  await endpoint.limits.admit(record, facts)
  const presentation = { wasGood: false }

  const issued = await endpoint.registry.decide(async (view) => {
    const authenticated = await authenticateCaller(endpoint, claim, view, facts)
    requireGrant(authenticated, grantType)
    const fence = fenceOf(view, authenticated)
    const issuance = await grants[grantType].authorize({
      client: authenticated.client,
      form,
      findResource: (uri) => view.findResource(uri),
      examineTicket: (ticket) =>
        endpoint.tickets.examine(ticket, {
          ...fence,
          presentation,
          client: authenticated.client,
          keys: fence.ticketKeys,
          origin: record,
          beforeEnd: () => spendProof(endpoint, facts),
        }),
    })
    const { redemption } = issuance
    const confirmation = bindToCertificate(authenticated.client, facts.certificate, redemption?.family.confirmation)
    const bound = confirmation === undefined ? {} : { confirmation }
    const uses = facts.isSpent ? [] : authenticated.uses
    return endpoint.tokens.issue({ ...authenticated, ...issuance, ...bound, uses, grantType, origin: record }, fence)
  })

  noteUse(endpoint, facts)
  if (facts.client !== undefined) await endpoint.quotas.note(facts.client.client, record)
  endpoint.metrics.countIssued(grantType, issued)
  return answerJson(record, tokenResponse(issued))
}

function parseGrantType(form: Parameters): GrantType {
  const grantType = form.get('grant_type')
  if (grantType === undefined) throw new OAuthError('grant_type_missing')
  if (!isGrantType(grantType)) throw new OAuthError('grant_type_unknown')
  return grantType
}

function requireGrant({ client }: AuthenticatedClient, grantType: GrantType): void {
  if (!client.grantTypes.includes(grantType)) throw new OAuthError('grant_not_registered')
}

function fenceOf(view: RegistryView, { client }: AuthenticatedClient): Fence {
  return {
    sequence: view.sequence,
    ticketKeys: view.ring.ticketKeys,
    tokensAfter: Math.max(view.tokensAfter, client.tokensAfter ?? 0),
    activeSigner: (alg) => view.ring.activeSigner(alg),
  }
}

/** @see RFC 6749 section 5.1 */
function tokenResponse({ accessToken, tokenType, lifetimeSeconds, scope, refreshToken }: IssuedToken): object {
  return {
    access_token: accessToken,
    token_type: tokenType,
    expires_in: lifetimeSeconds,
    ...(scope === undefined ? {} : { scope }),
    ...(refreshToken === undefined ? {} : { refresh_token: refreshToken }),
  }
}
