/**
 * What happens to a refusal besides its reply and its metric: the log line and the audit record. Refusals of those who
 * have not proved who they are, and of those who passed a limit, are sampled by address above a rate; what is over is
 * counted, and neither logged nor written one by one.
 */
import { hash } from 'node:crypto'
import type { AuditStore } from '../audit/audit-store.ts'
import type { AuditedEndpoint, RefusedRequest, SampledRefusals } from '../audit/event.ts'
import { auditedEndpoints } from '../audit/event.ts'
import type { RefusalSampler } from '../audit/sampler.ts'
import type { Claim } from '../client/authenticate.ts'
import { isSecretId, secretIdOf } from '../client/client-secret.ts'
import type { Log } from '../lib/log.ts'
import { type OAuthError, type Reason, refusalOf } from '../oauth/errors.ts'
import { addressGroup } from './address.ts'
import type { RequestFacts } from './caller.ts'
import type { RequestRecord, Route } from './request.ts'

const maxPending = 20_000

export interface RefusalLogParts {
  readonly audit: AuditStore
  readonly sampler: RefusalSampler
  readonly log: Log
}

export class RefusalLog {
  readonly #parts: RefusalLogParts
  #pending: SampledRefusals[] = []

  constructor(parts: RefusalLogParts) {
    this.#parts = parts
  }

  /**
   * Notes a refusal at an endpoint whose refusals are recorded, and nothing elsewhere; resolves when its record is durable,
   * or at once when it is only counted.
   *
   * @throws StoreUnavailable and then the caller must learn of the outage, not of the refusal
   */
  async note(record: RequestRecord, { reason }: OAuthError, facts: RequestFacts): Promise<void> {
    const { sampler, log, audit } = this.#parts
    const endpoint = auditedEndpointOf(record.route)
    if (endpoint === undefined) return
    // Whoever sends again what another has signed has proved nothing.
    const isStranger = facts.client === undefined || reason === 'assertion_replayed'
    // A client that goes on above its limit must not fill the disk either.
    const isSampled = isStranger || refusalOf(reason).status === 429
    if (isSampled && !sampler.admit(addressGroup(record.address), reason)) return
    const event = this.#describe({ ...record, endpoint }, reason, facts)
    log.info(logFields(event), 'refused')
    // Our own faults are in the log; a store that fails cannot be asked to record that it fails.
    if (refusalOf(reason).status < 500) await audit.recordRefusal(event)
  }

  /** Writes what was counted in windows that are over; everything so far when `all` is set. @throws StoreUnavailable */
  async flush(all = false): Promise<void> {
    this.#pending.push(...this.#parts.sampler.take(all))
    // With the store away for long, the oldest counts go; the metrics have them still.
    this.#pending.splice(0, Math.max(0, this.#pending.length - maxPending))
    while (this.#pending[0] !== undefined) {
      await this.#parts.audit.recordRefusal(this.#pending[0])
      this.#pending.shift()
    }
  }

  #describe(
    record: RequestRecord & { readonly endpoint: AuditedEndpoint },
    reason: Reason,
    facts: RequestFacts,
  ): RefusedRequest {
    const { claim, grantType, proof } = facts
    const secretId = claim?.kind === 'secret' ? secretIdOf(claim.secret.reveal()) : undefined
    const credentialId = credentialOf(facts)
    return {
      type: 'token.refused',
      reason,
      endpoint: record.endpoint,
      requestId: record.requestId,
      address: record.address,
      ...(grantType === undefined ? {} : { grantType }),
      ...(claim === undefined ? {} : nameClient(claim)),
      ...(secretId === undefined ? {} : { secretId }),
      ...(credentialId === undefined ? {} : { credentialId }),
      ...(proof === undefined ? {} : { jkt: proof.jkt }),
    }
  }
}

function auditedEndpointOf(route: Route): AuditedEndpoint | undefined {
  return auditedEndpoints.find((endpoint) => endpoint === route)
}

// A secret typed into the wrong field is a client id that nobody has; its hash lets the owner find it again.
function nameClient({ clientId, exists }: Claim): Pick<RefusedRequest, 'clientId' | 'clientIdHash'> {
  const clientIdHash = hash('sha256', clientId, 'hex').slice(0, 12)
  return exists ? { clientId } : { clientIdHash }
}

// What proved the client that was refused something else, or the certificate that did not; secrets have a member of their own.
function credentialOf({ client, claim }: RequestFacts): string | undefined {
  if (client !== undefined) return isSecretId(client.credentialId) ? undefined : client.credentialId
  return claim?.kind === 'certificate' ? `crt_${claim.certificate.thumbprint}` : undefined
}

function logFields(event: RefusedRequest): object {
  return {
    request_id: event.requestId,
    reason: event.reason,
    endpoint: event.endpoint,
    address: event.address,
    grant_type: event.grantType,
    client_id: event.clientId,
    client_id_sha256: event.clientIdHash,
    secret_id: event.secretId,
    credential_id: event.credentialId,
    jkt: event.jkt,
  }
}
