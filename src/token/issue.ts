/**
 * An access token is signed, then recorded, then handed out, in that order. Between each two steps the process may
 * die or be paused for an hour:
 *
 *   signed, not recorded      the token is forgotten with the process; nobody has it
 *   recorded, not handed out  the trail knows a token that nobody has; the client asks again
 *   paused before recording   the registry may have moved: then the record is not written, and the token not handed out
 */
import type { Origin } from '../audit/event.ts'
import type { AuthenticatedClient } from '../client/authenticate.ts'
import type { Signer, SigningAlg } from '../key/signer.ts'
import { type Clock, nowSeconds } from '../lib/clock.ts'
import { makeUlid } from '../lib/id.ts'
import { type AccessTokenClaims, accessTokenType } from '../oauth/claims.ts'
import type { GrantType } from '../oauth/grant-type.ts'
import { formatScope } from '../oauth/scope.ts'
import type { Resource } from '../resource/resource.ts'
import type { TokenStore } from './token-store.ts'

/** What the server's settings say of tokens. */
export interface TokenSettings {
  readonly issuer: string
  readonly signingAlg: SigningAlg
  readonly accessTokenTtlSeconds: number
  readonly accessTokenMaxTtlSeconds: number
}

/** What is to be issued, to whom, and on whose word. */
export interface TokenOrder extends AuthenticatedClient {
  readonly grantType: GrantType
  readonly subject: string
  readonly audience: Resource
  readonly scopes: readonly string[]
  readonly origin: Origin
}

/** A token that may be handed out. */
export interface IssuedToken {
  readonly accessToken: string
  readonly lifetimeSeconds: number
  readonly scope: string | undefined
  readonly alg: SigningAlg
}

/** The registry as the token was decided on. */
export interface Fence {
  readonly sequence: number
  activeSigner(alg: SigningAlg): Signer
}

export class TokenIssuer {
  readonly #settings: TokenSettings
  readonly #store: TokenStore
  readonly #clock: Clock

  constructor(settings: TokenSettings, store: TokenStore, clock: Clock) {
    this.#settings = settings
    this.#store = store
    this.#clock = clock
  }

  /**
   * Signs and records one access token.
   *
   * @returns `undefined` when the registry moved since the decision: nothing was issued, decide again
   * @throws StoreUnavailable; KeyMaterialError when no key can sign
   * @see RFC 9068
   */
  async issue(order: TokenOrder, fence: Fence): Promise<IssuedToken | undefined> {
    const signer = fence.activeSigner(order.audience.alg ?? this.#settings.signingAlg)
    const lifetimeSeconds = this.lifetimeSeconds(order)
    const claims = this.#claims(order, lifetimeSeconds)
    const accessToken = await signToken(claims, signer)
    const recorded = await this.#store.recordIssuance(
      {
        ...order.origin,
        jti: claims.jti,
        clientId: claims.client_id,
        subject: claims.sub,
        grantType: order.grantType,
        secretId: order.secretId,
        audience: claims.aud,
        ...(claims.scope === undefined ? {} : { scope: claims.scope }),
        kid: signer.kid,
        expiresAt: claims.exp,
      },
      fence.sequence,
    )
    return recorded ? { accessToken, lifetimeSeconds, scope: claims.scope, alg: signer.alg } : undefined
  }

  /** The least of what resource and client ask for, or the default when neither does; never above the server's cap. */
  lifetimeSeconds({ audience, client }: Pick<TokenOrder, 'audience' | 'client'>): number {
    const asked = [audience.accessTokenTtlSeconds, client.accessTokenTtlSeconds].filter((ttl) => ttl !== undefined)
    const wanted = asked.length === 0 ? this.#settings.accessTokenTtlSeconds : Math.min(...asked)
    return Math.min(wanted, this.#settings.accessTokenMaxTtlSeconds)
  }

  #claims(order: TokenOrder, lifetimeSeconds: number): AccessTokenClaims {
    const now = nowSeconds(this.#clock)
    const scope = formatScope(order.scopes)
    return {
      iss: this.#settings.issuer,
      sub: order.subject,
      aud: order.audience.uri,
      exp: now + lifetimeSeconds,
      iat: now,
      nbf: now,
      jti: makeUlid(this.#clock.nowMilliseconds()),
      client_id: order.client.clientId,
      ...(scope === undefined ? {} : { scope }),
    }
  }
}

const headers = new WeakMap<Signer, string>()

function headerOf(signer: Signer): string {
  let header = headers.get(signer)
  if (header === undefined) {
    header = encode({ typ: accessTokenType, alg: signer.alg, kid: signer.kid })
    headers.set(signer, header)
  }
  return header
}

// JWS compact serialisation (RFC 7515 section 3.1). By hand: jose's SignJWT goes through WebCrypto and takes 2.7 times as long.
async function signToken(claims: AccessTokenClaims, signer: Signer): Promise<string> {
  const input = `${headerOf(signer)}.${encode(claims)}`
  const signature = await signer.sign(Buffer.from(input, 'latin1'))
  return `${input}.${Buffer.from(signature.buffer, signature.byteOffset, signature.length).toString('base64url')}`
}

function encode(json: object): string {
  return Buffer.from(JSON.stringify(json)).toString('base64url')
}
