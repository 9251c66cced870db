/** A workload that proves itself with a key of its own (private_key_jwt), and keeps its token until shortly before it expires. */
import { createPrivateKey, randomUUID, sign } from 'node:crypto'
import { readFileSync } from 'node:fs'

interface Token {
  readonly accessToken: string
  /** On the monotonic clock, milliseconds. */
  readonly renewAt: number
}

interface TokenReply {
  readonly access_token?: string
  readonly expires_in?: number
  readonly error?: string
}

const issuer = process.env.ISSUER ?? 'http://127.0.0.1:8080'
const clientId = process.env.CLIENT_ID ?? ''
// A P-256 key in PEM, which never leaves this machine.
const key = createPrivateKey(readFileSync(process.env.KEY_FILE ?? 'key.pem'))
// Which of the registered keys it is; needed when the client has several.
const kid = process.env.KEY_ID
let current: Token | undefined
let pending: Promise<Token> | undefined

/** A statement that is good for one request to this issuer, within a minute (RFC 7523 section 3). */
function makeAssertion(): string {
  const now = Math.floor(Date.now() / 1000)
  const header = { alg: 'ES256', typ: 'client-authentication+jwt', ...(kid === undefined ? {} : { kid }) }
  const claims = { iss: clientId, sub: clientId, aud: issuer, iat: now, exp: now + 60, jti: randomUUID() }
  const input = [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
  const signature = sign('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' })
  return `${input}.${signature.toString('base64url')}`
}

async function fetchToken(): Promise<Token> {
  const reply = await fetch(`${issuer}/token`, {
    method: 'POST',
    body: new URLSearchParams({
      grant_type: 'client_credentials',
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion: makeAssertion(),
    }),
    // A token endpoint never redirects, and a redirect must not take the assertion along.
    redirect: 'error',
    signal: AbortSignal.timeout(5_000),
  })
  // Something in between may answer with a page; then the status is all there is to tell.
  const body = (await reply.json().catch(() => ({}))) as TokenReply
  if (body.access_token === undefined) throw new Error(`no token: ${reply.status} ${body.error ?? ''}`)
  // A tenth of its life early, so that it does not expire on its way.
  return { accessToken: body.access_token, renewAt: performance.now() + (body.expires_in ?? 0) * 900 }
}

/** An access token that is good for a while. Callers that come together share one request. */
export async function getToken(): Promise<string> {
  if (current !== undefined && performance.now() < current.renewAt) return current.accessToken
  pending ??= fetchToken().finally(() => {
    pending = undefined
  })
  current = await pending
  return current.accessToken
}

if (import.meta.main) {
  const services = process.argv.slice(2)
  for (const url of services.length > 0 ? services : ['http://127.0.0.1:3000/']) {
    const reply = await fetch(url, { headers: { authorization: `Bearer ${await getToken()}` } })
    console.log(reply.status, await reply.text())
  }
}
