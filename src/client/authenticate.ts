/**
 * Who is asking. One method proves one client; every way of failing answers the same bytes, and the work done depends
 * on the presented string alone: one look at the registry, and one hash of the class that the string belongs to, or one
 * signature of the algorithm that it names.
 */
import { type AuthMethod, authMethods } from '../oauth/auth-method.ts'
import { OAuthError, type Reason } from '../oauth/errors.ts'
import type { ReplayUse } from '../oauth/replay.ts'
import type { ClientCertificate } from './certificate.ts'
import type { Client, ClientSecret } from './client.ts'
import { type CredentialId, generatedPrefix, matchesHash, secretIdOf } from './client-secret.ts'
import type { ArgonCost, ImportedSecretChecker } from './imported-secret.ts'
import { type CredentialRequest, methods, type PresentedCredentials } from './methods.ts'
import { proveByCertificate } from './mtls.ts'
import { type AssertionTools, proveByAssertion, requireKnownUse } from './private-key-jwt.ts'

/** Where clients are looked up, at one moment of the registry. */
export interface ClientLookup {
  /** `cached` tells whether the answer came from memory. @throws StoreUnavailable */
  findClient(clientId: string): Promise<{ readonly client: Client | undefined; readonly cached: boolean }>
  /** Does the work of looking for a client that does not exist, and nothing else. @throws StoreUnavailable */
  probe(): Promise<void>
  /** The cost of the store's imported secrets, `undefined` when it holds none. */
  readonly importedCost: ArgonCost | undefined
  /** Before this moment the store may have gone back: what it lacks of then nobody knows. Milliseconds since the epoch, or 0. */
  readonly tokensAfter: number
}

/** A client that proved itself, and by what. */
export interface AuthenticatedClient {
  readonly client: Client
  readonly credentialId: CredentialId
  /** Statements that count once: whoever acts on this makes them count, and it holds only if they had not before. */
  readonly uses: readonly ReplayUse[]
}

/** A request's credentials, taken out once and checked as often as the registry moves under it. */
export type Claim = PresentedCredentials & {
  readonly method: AuthMethod
  /** That of the connection, whatever the claim rests on. */
  readonly certificate?: ClientCertificate | undefined
  /** The outcome of an argon2id check by the hash it was made on: a second decision must not cost a second one. */
  readonly checked: Map<string | undefined, boolean>
  /** Whether a client has this id; set by `authenticateClient`, for the record of a refusal. */
  exists?: boolean
  /** Whether it was right before; set by who remembers that (`http/failure-throttle.ts`). */
  wasRight?: boolean
}

/**
 * Takes the client's claim out of a request.
 *
 * @throws OAuthError `authentication_several`, `_missing`, `_malformed`, `_scheme_unsupported`, `_method_unsupported`,
 *   `_client_mismatch`, `assertion_incomplete`, `_malformed`, `_claim_missing`
 * @see RFC 6749 section 2.3, RFC 7521 section 4.2
 */
export function parseClaim(request: CredentialRequest): Claim {
  const used = authMethods.filter((method) => methods[method].isUsed(request))
  const hasForeignScheme = request.authorization !== undefined && !used.includes('client_secret_basic')
  if (used.length + Number(hasForeignScheme) > 1) throw new OAuthError('authentication_several')
  if (hasForeignScheme) throw new OAuthError('authentication_scheme_unsupported')
  const [method] = used
  if (method === undefined) throw new OAuthError('authentication_missing')
  const presented = methods[method].parse(request)
  const named = request.form.get('client_id')
  if (named !== undefined && named !== presented.clientId) throw new OAuthError('authentication_client_mismatch')
  const { certificate } = request
  return { ...presented, method, checked: new Map(), ...(certificate === undefined ? {} : { certificate }) }
}

/**
 * Whether checking a claim takes more than reading it: an argon2id computation. It depends on the presented string alone;
 * the right string of another kind cannot be guessed.
 */
export function isDearToCheck(claim: Claim): claim is SecretClaim {
  return claim.kind === 'secret' && !claim.secret.reveal().startsWith(generatedPrefix)
}

/** What proofs are checked with. `clock` tells what has expired. */
export interface ProofTools extends AssertionTools {
  readonly checker: ImportedSecretChecker
}

/** What a credential proved of a client that has it. */
interface Proof {
  readonly credentialId: CredentialId
  readonly method: AuthMethod
  readonly uses?: readonly ReplayUse[]
}

/**
 * Proves a claim.
 *
 * @throws OAuthError with a reason of `invalid_client`, or `secret_check_busy`, `assertion_keys_busy`,
 *   `assertion_use_unknown`
 * @throws StoreUnavailable
 * @see RFC 6749 section 5.2
 */
export async function authenticateClient(
  claim: Claim,
  lookup: ClientLookup,
  tools: ProofTools,
): Promise<AuthenticatedClient> {
  const { client, cached } = await lookup.findClient(claim.clientId)
  claim.exists = client !== undefined
  const proof = await prove(claim, client, lookup, tools)
  const judgement = (await findSecondMethod(claim, client, tools)) ?? judge(client, proof)
  if (typeof judgement !== 'string') return judgement
  // A client in memory would be refused sooner than one that does not exist: it costs the same look into the store, and
  // not its own row, whose size would show.
  if (cached) await lookup.probe()
  throw new OAuthError(judgement)
}

function judge(client: Client | undefined, proof: Proof | Reason): AuthenticatedClient | Reason {
  if (client === undefined) return 'client_unknown'
  if (client.status === 'disabled') return 'client_disabled'
  if (client.authMethods.length === 0) return 'client_public'
  if (typeof proof === 'string') return proof
  if (!client.authMethods.includes(proof.method)) return 'authentication_method_not_registered'
  return { client, credentialId: proof.credentialId, uses: proof.uses ?? [] }
}

// A client that proves itself by its certificate and sends another credential besides uses two methods at once. Only who has
// that certificate hears of it: to all others it is one more failure like any other. A client that may use the other method
// uses that, and its certificate is part of the connection.
async function findSecondMethod(
  { kind, method, certificate }: Claim,
  client: Client | undefined,
  { remoteKeys }: ProofTools,
): Promise<Reason | undefined> {
  if (kind === 'certificate' || certificate === undefined) return undefined
  if (client?.status !== 'active' || client.authMethods.includes(method)) return undefined
  const proof = await proveByCertificate(certificate, client, remoteKeys)
  return typeof proof === 'string' ? undefined : 'authentication_several'
}

// The work is that of the presented credential, whether or not there is such a client.
async function prove(
  claim: Claim,
  client: Client | undefined,
  lookup: ClientLookup,
  tools: ProofTools,
): Promise<Proof | Reason> {
  switch (claim.kind) {
    case 'secret':
      return proveBySecret(claim, client, lookup.importedCost, tools)
    case 'assertion':
      requireKnownUse(claim.assertion.reveal(), lookup.tokensAfter)
      return proveByAssertion(claim.assertion.reveal(), client, tools)
    case 'certificate':
      return proveByCertificate(claim.certificate, client, tools.remoteKeys)
  }
}

/** A claim to be a client by a secret. */
export type SecretClaim = Extract<Claim, { readonly kind: 'secret' }>

async function proveBySecret(
  claim: SecretClaim,
  client: Client | undefined,
  importedCost: ArgonCost | undefined,
  { checker, clock }: ProofTools,
): Promise<Proof | Reason> {
  const secret = await checkSecret(claim, client, importedCost, checker)
  if (secret === undefined) return knowsSecret(claim, client) ? 'secret_wrong' : 'secret_unknown'
  if ((secret.expiresAt ?? Number.POSITIVE_INFINITY) <= clock.nowMilliseconds()) return 'secret_expired'
  return { credentialId: secret.secretId, method: claim.method }
}

function knowsSecret(claim: SecretClaim, client: Client | undefined): boolean {
  const id = secretIdOf(claim.secret.reveal())
  return id === undefined || client?.secrets.some((secret) => secret.secretId === id) === true
}

/** The client's secret that was presented, expired or not. */
async function checkSecret(
  claim: SecretClaim,
  client: Client | undefined,
  importedCost: ArgonCost | undefined,
  checker: ImportedSecretChecker,
): Promise<ClientSecret | undefined> {
  const presented = claim.secret.reveal()
  if (presented.startsWith(generatedPrefix)) return checkGenerated(presented, client)
  if (importedCost === undefined) return undefined
  const secret = client?.secrets.find((candidate) => candidate.kind === 'imported')
  const argon2id = secret?.kind === 'imported' ? secret.argon2id : undefined
  const matched =
    claim.checked.get(argon2id) ??
    (await checker.matches(presented, argon2id, { ...importedCost, goesFirst: claim.wasRight === true }))
  claim.checked.set(argon2id, matched)
  return matched ? secret : undefined
}

const noHash = new Uint8Array(32)

function checkGenerated(presented: string, client: Client | undefined): ClientSecret | undefined {
  const id = secretIdOf(presented)
  const secret = client?.secrets.find((candidate) => candidate.secretId === id)
  const matched = matchesHash(presented, secret?.kind === 'generated' ? secret.sha256 : noHash)
  return matched ? secret : undefined
}
