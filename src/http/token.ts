import type { AuthenticatedClient } from '../client/authenticate.ts'
import { bindToCertificate } from '../client/mtls.ts'
import type { VerifiedProof } from '../dpop/proof.ts'
import { grants } from '../grant/grants.ts'
import { type Confirmation, mergeConfirmations } from '../oauth/confirmation.ts'
import { OAuthError } from '../oauth/errors.ts'
import { type GrantType, isGrantType } from '../oauth/grant-type.ts'
import type { Parameters } from '../oauth/parameters.ts'
import type { Registry, RegistryView } from '../registry/registry.ts'
import type { Fence, IssuedToken, TokenIssuer, TokenOrder } from '../token/issue.ts'
import type { QuotaWatch } from '../token/quota-watch.ts'
import type { RefreshTickets } from '../token/refresh.ts'
import { authenticateCaller, type CallerEndpoint, noteUse, type RequestFacts, readClaim, spendProof } from './caller.ts'
import { readForm } from './form.ts'
import type { Metrics } from './metrics.ts'
import type { RequestRecord } from './request.ts'
import { answerJson } from './respond.ts'
import { examineProof, nonceHeader, type ProofEndpoint } from './token-proof.ts'

export interface TokenEndpoint extends CallerEndpoint, ProofEndpoint {
  readonly registry: Registry
  readonly tokens: TokenIssuer
  readonly tickets: RefreshTickets
  readonly quotas: QuotaWatch
  /** @throws OAuthError `clock_off` while this process must not date anything */
  requireTime(): void
  readonly metrics: Metrics
}

/**
 * `POST /token`: the story of one issuance. Checks come in this order: the form, the grant type, the client, whether
 * it may use the grant, its DPoP proof, the grant's own parameters, resource and scope. What the registry has a say in is
 * decided on one view of it, and again on a newer one if it moved before the token was recorded.
 *
 * @see RFC 6749 sections 3.2, 4.4, 5, 6; RFC 9449 section 5
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
  // Before a refresh token is judged: by a wrong clock, whoever tries again would be taken for a thief.
  endpoint.requireTime()
  const presentation = { wasGood: false }

  const { issued, proof } = await endpoint.registry.decide(async (view) => {
    const authenticated = await authenticateCaller(endpoint, claim, view, facts)
    requireGrant(authenticated, grantType)
    const proof = examineProof(endpoint, record, view, facts)
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
          beforeEnd: () => spendProof(endpoint, facts, proof?.use),
        }),
    })
    const binding = bindTo(authenticated, proof, facts, issuance.redemption?.family.confirmation)
    const order = { ...authenticated, ...issuance, ...binding, grantType, origin: record }
    const issued = await endpoint.tokens.issue(order, fence)
    return issued && { issued, proof }
  })

  noteUse(endpoint, facts)
  if (facts.client !== undefined) await endpoint.quotas.note(facts.client.client, record)
  endpoint.metrics.countIssued(grantType, issued)
  return answerJson(record, tokenResponse(issued), nonceHeader(proof))
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

// What was proved besides who asks: the token is bound to all of it. A proof counts in the commit that records the token, so a
// request that is refused has not used it up.
function bindTo(
  { client, uses }: AuthenticatedClient,
  proof: VerifiedProof | undefined,
  { certificate, isSpent }: RequestFacts,
  before: Confirmation | undefined,
): Pick<TokenOrder, 'uses' | 'confirmation'> {
  const confirmation = mergeConfirmations(proof && { jkt: proof.jkt }, bindToCertificate(client, certificate, before))
  return {
    uses: isSpent ? [] : [...uses, ...(proof === undefined ? [] : [proof.use])],
    ...(confirmation === undefined ? {} : { confirmation }),
  }
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
