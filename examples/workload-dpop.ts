/**
 * A workload whose tokens are bound to a key that never leaves this process: whoever steals one cannot use it (RFC 9449).
 * It keeps its token until shortly before it expires, and makes a proof for each request.
 */
import { createHash, generateKeyPairSync, randomUUID, sign } from 'node:crypto'

interface Token {
  readonly accessToken: string
  /** On the monotonic clock, milliseconds. */
  readonly renewAt: number
}

interface TokenReply {
  readonly access_token?: string
  readonly token_type?: string
  readonly expires_in?: number
  readonly error?: string
}

const issuer = process.env.ISSUER ?? 'http://127.0.0.1:8080'
// Form-encoded first (RFC 6749 section 2.3.1); generated ids and secrets stay as they are.
const credentials = [process.env.CLIENT_ID, process.env.CLIENT_SECRET]
  .map((part) => encodeURIComponent(part ?? ''))
  .join(':')

// A new key for each start: there is nothing to keep, and nothing to steal from a disk.
const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const { kty, crv, x, y } = publicKey.export({ format: 'jwk' })
const header = encode({ typ: 'dpop+jwt', alg: 'ES256', jwk: { kty, crv, x, y } })

/** The last nonce of each server that gave one. */
const nonces = new Map<string, string>()
let current: Token | undefined
let pending: Promise<Token> | undefined

function encode(part: object): string {
  return Buffer.from(JSON.stringify(part)).toString('base64url')
}

/** A proof for one request, and for the token that goes with it. */
function prove(method: string, url: URL, token?: string): string {
  const claims = {
    jti: randomUUID(),
    htm: method,
    htu: url.origin + url.pathname,
    iat: Math.floor(Date.now() / 1000),
    nonce: nonces.get(url.origin),
    ...(token === undefined ? {} : { ath: createHash('sha256').update(token).digest('base64url') }),
  }
  const input = `${header}.${encode(claims)}`
  const signature = sign('sha256', Buffer.from(input), { key: privateKey, dsaEncoding: 'ieee-p1363' })
  return `${input}.${signature.toString('base64url')}`
}

// A server that wants a nonce says so, once: with the same answer it sends one.
async function send(url: URL, make: () => RequestInit, isRetry = false): Promise<Response> {
  const before = nonces.get(url.origin)
  // Neither redirects, and a redirect must not take the secret or the token along.
  const reply = await fetch(url, { ...make(), redirect: 'error', signal: AbortSignal.timeout(5_000) })
  const nonce = reply.headers.get('dpop-nonce')
  if (nonce !== null) nonces.set(url.origin, nonce)
  const isRefused = reply.status === 400 || reply.status === 401
  return isRefused && nonce !== null && nonce !== before && !isRetry ? send(url, make, true) : reply
}

async function fetchToken(): Promise<Token> {
  const url = new URL(`${issuer}/token`)
  const reply = await send(url, () => ({
    method: 'POST',
    headers: {
      authorization: `Basic ${Buffer.from(credentials).toString('base64')}`,
      dpop: prove('POST', url),
    },
    body: new URLSearchParams({ grant_type: 'client_credentials' }),
  }))
  const body = (await reply.json().catch(() => ({}))) as TokenReply
  if (body.access_token === undefined) throw new Error(`no token: ${reply.status} ${body.error ?? ''}`)
  // Something in between may have lost the proof, and then the token is anybody's.
  if (body.token_type !== 'DPoP') throw new Error(`no bound token: ${body.token_type}`)
  // A tenth of its life early, so that it does not expire on its way.
  return { accessToken: body.access_token, renewAt: performance.now() + (body.expires_in ?? 0) * 900 }
}

/** An access token that is good for a while. Callers that come together share one request. */
async function getToken(): Promise<string> {
  if (current !== undefined && performance.now() < current.renewAt) return current.accessToken
  pending ??= fetchToken().finally(() => {
    pending = undefined
  })
  current = await pending
  return current.accessToken
}

/** `GET` with the token and a proof. */
export async function get(target: string): Promise<Response> {
  const url = new URL(target)
  const token = await getToken()
  return send(url, () => ({ headers: { authorization: `DPoP ${token}`, dpop: prove('GET', url, token) } }))
}

if (import.meta.main) {
  const services = process.argv.slice(2)
  for (const url of services.length > 0 ? services : ['http://127.0.0.1:3000/']) {
    const reply = await get(url)
    console.log(reply.status, await reply.text())
  }
}
