import type { Actor } from '../audit/event.ts'
import type { Read } from '../lib/read.ts'
import type { Client, ClientProofSettings, ClientSettings, SecretFacts } from './client.ts'
import type { SecretId } from './client-secret.ts'

/** A secret on its way into the store. */
export type NewSecret = { readonly secretId: SecretId; readonly expiresAt?: number } & (
  | { readonly kind: 'generated'; readonly sha256: Uint8Array }
  | { readonly kind: 'imported'; readonly argon2id: string }
)

/** The same, where `null` takes away what there is. */
export type ClientProofChanges = {
  readonly [Name in keyof ClientProofSettings]?: NonNullable<ClientProofSettings[Name]> | null
}

/**
 * Changes to a client: every member that is present is set; lists are replaced whole.
 */
export interface ClientChanges extends ClientProofChanges {
  readonly name?: string
  readonly grantTypes?: ClientSettings['grantTypes']
  readonly authMethods?: ClientSettings['authMethods']
  readonly scopes?: readonly string[]
  readonly audiences?: readonly string[]
  readonly introspects?: readonly string[]
  readonly accessTokenTtlSeconds?: number | null
  /** Methods that it accepts beside the registered one. */
  readonly alsoAccept?: ClientSettings['authMethods']
}

/** A secret with an end. `isLast`: no other secret of its client lives longer. */
export interface ExpiringSecret {
  readonly clientId: string
  readonly secretId: SecretId
  readonly expiresAt: number
  readonly isLast: boolean
}

/** What the end of all access of a client was. */
export interface Offboarding {
  readonly client: Client
  /** The secrets that it had until now. */
  readonly secrets: readonly SecretId[]
  /** What it could prove itself with besides (`own-proofs.ts`). */
  readonly keys: readonly string[]
  /** What was issued up to this moment had been ended before; 0 when nothing had. Milliseconds since the epoch. */
  readonly endedBefore: number
  readonly endedAt: number
}

/**
 * Where clients and their secrets are registered. Each change is one act with its audit record, and moves the registry
 * sequence. A deleted client's id is kept and never given again.
 */
export interface ClientStore {
  /** @throws StoreUnavailable */
  findClient(clientId: string): Promise<Read<Client | undefined>>
  /** By id, those after `after`, at most `limit`. @throws StoreUnavailable */
  listClients(page: { after?: string; limit: number }): Promise<readonly Client[]>
  /** Secrets of clients that are not disabled, which end by themselves between two moments, the next ones first. @throws StoreUnavailable */
  listExpiringSecrets(span: { from: number; to: number; limit: number }): Promise<readonly ExpiringSecret[]>
  /** @throws RegistryError `exists`, or `invalid` for an audience or scope that no resource defines; StoreUnavailable */
  createClient(clientId: string, settings: ClientSettings, secret: NewSecret | undefined, by: Actor): Promise<Client>
  /** @throws RegistryError `unknown`, `invalid`; StoreUnavailable */
  updateClient(clientId: string, changes: ClientChanges, by: Actor): Promise<Client>
  /**
   * Does nothing when it already is so. Disabling ends every token and refresh family that the client has: enabling it
   * again revives none.
   *
   * @throws RegistryError `unknown`; StoreUnavailable
   */
  setClientStatus(clientId: string, status: Client['status'], by: Actor): Promise<Client>
  /** Deletes a client with its secrets, for ever, and ends its tokens and refresh families. @throws RegistryError `unknown`; StoreUnavailable */
  deleteClient(clientId: string, by: Actor): Promise<void>
  /**
   * Ends every access that a client has, in one act: it is disabled, its secrets and keys are deleted, and all that was
   * issued to it is dead. Does nothing when nothing is left to end.
   *
   * @throws RegistryError `unknown`; StoreUnavailable
   */
  offboardClient(clientId: string, by: Actor): Promise<Offboarding>
  /** @throws RegistryError `unknown`, `limit`; StoreUnavailable */
  createSecret(clientId: string, secret: NewSecret, by: Actor): Promise<SecretFacts>
  /** @throws RegistryError `unknown`; StoreUnavailable */
  revokeSecret(clientId: string, secretId: SecretId, by: Actor): Promise<void>
  /**
   * Notes when secrets were last used, milliseconds since the epoch. Moves no sequence and writes no audit record.
   *
   * @throws StoreUnavailable
   */
  noteSecretUse(lastUsedAt: ReadonlyMap<SecretId, number>): Promise<void>
}
