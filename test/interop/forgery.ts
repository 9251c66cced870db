/** Genuine access tokens of a real server, and what somebody could make of them: one thing wrong with each. */
import { createHmac, createPublicKey, generateKeyPairSync, type JsonWebKey, sign } from 'node:crypto'
import type { Signer, SigningAlg } from '../../src/key/signer.ts'
import {
  addClient,
  claimsOf,
  getToken,
  headerOf,
  startTestServer,
  type TestClient,
  type TestServer,
} from '../support/server.ts'

/** The resource whose tokens are signed with an algorithm, and one beside it with the same algorithm. */
export const audiences = {
  ES256: { own: 'https://es256.example.test', other: 'https://es256-other.example.test' },
  RS256: { own: 'https://rs256.example.test', other: 'https://rs256-other.example.test' },
} as const satisfies Record<SigningAlg, { own: string; other: string }>

export const forgeries = [
  'expired',
  'not valid yet',
  'for another audience',
  'of another issuer',
  'with a tampered payload',
  'with a tampered signature',
  'signed HS256 with the published key as PEM',
  'signed HS256 with the published key as JWK',
  'with alg none',
  'with alg none and a signature',
  'signed by a stranger under a published kid',
  'signed by a stranger whose key it carries',
  'with a kid that is not published',
  'with another typ',
  'without typ',
] as const

export type Forgery = (typeof forgeries)[number]

type Json = Readonly<Record<string, unknown>>

/** A server whose published keys sign what a test wants: a forgery has nothing wrong but what its name says. */
export interface Mint {
  readonly server: TestServer
  readonly client: TestClient
  genuine(alg: SigningAlg): Promise<string>
  /** A token that was never issued, signed with a key that is published. */
  sign(alg: SigningAlg, changes: { header?: Json; claims?: Json }): Promise<string>
  forge(alg: SigningAlg, forgery: Forgery): Promise<string>
}

export async function startMint(): Promise<Mint> {
  const signers = new Map<string, Signer>()
  const server = await startTestServer({
    signerHook: (signer) => {
      signers.set(signer.kid, signer)
      return signer
    },
  })
  const uris = Object.entries(audiences).flatMap(([alg, { own, other }]) => [own, other].map((uri) => ({ uri, alg })))
  for (const { uri, alg } of uris)
    await server.store.createResource(uri, { scopes: ['read'], alg: alg as SigningAlg }, 'cli:test')
  const client = await addClient(server.store, 'minter', {
    audiences: uris.map(({ uri }) => uri),
    scopes: ['read'],
  })
  const genuine = (alg: SigningAlg): Promise<string> => getToken(server, client, { resource: audiences[alg].own })
  const signWith = async (alg: SigningAlg, { header = {}, claims = {} }: { header?: Json; claims?: Json }) => {
    const token = await genuine(alg)
    const signer = signers.get(String(headerOf(token).kid))
    if (signer === undefined) throw new Error('the token names a key that nobody opened')
    const input = encode({ ...headerOf(token), ...header }, { ...claimsOf(token), ...claims })
    return `${input}.${Buffer.from(await signer.sign(Buffer.from(input))).toString('base64url')}`
  }
  const mint: Omit<Mint, 'forge'> = { server, client, genuine, sign: signWith }
  return { ...mint, forge: (alg, forgery) => makers[forgery](mint, alg) }
}

type Maker = (mint: Omit<Mint, 'forge'>, alg: SigningAlg) => Promise<string>

const seconds = (): number => Math.floor(Date.now() / 1000)

const makers: Record<Forgery, Maker> = {
  // A minute and more: verifiers forgive some skew.
  expired: (mint, alg) =>
    mint.sign(alg, { claims: { iat: seconds() - 600, nbf: seconds() - 600, exp: seconds() - 300 } }),
  'not valid yet': (mint, alg) => mint.sign(alg, { claims: { nbf: seconds() + 200 } }),
  'for another audience': (mint, alg) => getToken(mint.server, mint.client, { resource: audiences[alg].other }),
  'of another issuer': (mint, alg) => mint.sign(alg, { claims: { iss: 'https://evil.example.test' } }),
  'with a tampered payload': async (mint, alg) => {
    const token = await mint.genuine(alg)
    return `${encode(headerOf(token), { ...claimsOf(token), sub: 'admin' })}.${token.split('.')[2]}`
  },
  'with a tampered signature': async (mint, alg) => {
    const token = await mint.genuine(alg)
    const [header, payload, signature = ''] = token.split('.')
    const bytes = Buffer.from(signature, 'base64url')
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1
    return `${header}.${payload}.${bytes.toString('base64url')}`
  },
  'signed HS256 with the published key as PEM': (mint, alg) => signHmac(mint, alg, pemOf),
  'signed HS256 with the published key as JWK': (mint, alg) => signHmac(mint, alg, (jwk) => JSON.stringify(jwk)),
  'with alg none': async (mint, alg) => {
    const token = await mint.genuine(alg)
    return `${encode({ ...headerOf(token), alg: 'none' }, claimsOf(token))}.`
  },
  'with alg none and a signature': async (mint, alg) => {
    const token = await mint.genuine(alg)
    return `${encode({ ...headerOf(token), alg: 'none' }, claimsOf(token))}.${token.split('.')[2]}`
  },
  'signed by a stranger under a published kid': (mint, alg) => signAsStranger(mint, alg, () => ({})),
  'signed by a stranger whose key it carries': (mint, alg) => signAsStranger(mint, alg, (jwk) => ({ jwk })),
  'with a kid that is not published': (mint, alg) => mint.sign(alg, { header: { kid: 'nobody' } }),
  'with another typ': (mint, alg) => mint.sign(alg, { header: { typ: 'JWT' } }),
  'without typ': (mint, alg) => mint.sign(alg, { header: { typ: undefined } }),
}

function encode(header: Json, claims: Json): string {
  return [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
}

async function publishedKey({ server }: Omit<Mint, 'forge'>, kid: unknown): Promise<JsonWebKey> {
  const reply = await fetch(`${server.issuer}/.well-known/jwks.json`)
  const { keys } = (await reply.json()) as { keys: (JsonWebKey & { kid: string })[] }
  const key = keys.find((candidate) => candidate.kid === kid)
  if (key === undefined) throw new Error('the key of a genuine token is not published')
  return key
}

const pemOf = (jwk: JsonWebKey): string =>
  createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'pem' }).toString()

// What a verifier that takes the algorithm from the token would check with: the public key as an HMAC secret.
async function signHmac(mint: Omit<Mint, 'forge'>, alg: SigningAlg, secretOf: (jwk: JsonWebKey) => string) {
  const token = await mint.genuine(alg)
  const header = headerOf(token)
  const input = encode({ ...header, alg: 'HS256' }, claimsOf(token))
  const secret = secretOf(await publishedKey(mint, header.kid))
  return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`
}

async function signAsStranger(mint: Omit<Mint, 'forge'>, alg: SigningAlg, more: (jwk: JsonWebKey) => Json) {
  const token = await mint.genuine(alg)
  const { privateKey, publicKey } =
    alg === 'ES256'
      ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
      : generateKeyPairSync('rsa', { modulusLength: 2048 })
  const input = encode({ ...headerOf(token), ...more(publicKey.export({ format: 'jwk' })) }, claimsOf(token))
  const signature = sign('sha256', Buffer.from(input), { key: privateKey, dsaEncoding: 'ieee-p1363' })
  return `${input}.${signature.toString('base64url')}`
}
