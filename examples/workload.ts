/** A workload that keeps its token until shortly before it expires. */

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
// Form-encoded first (RFC 6749 section 2.3.1); generated ids and secrets stay as they are.
const credentials = [process.env.CLIENT_ID, process.env.CLIENT_SECRET]
  .map((part) => encodeURIComponent(part ?? ''))
  .join(':')
let current: Token | undefined
let pending: Promise<Token> | undefined

async function fetchToken(): Promise<Token> {
  const reply = await fetch(`${issuer}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` },
    body: new URLSearchParams({ grant_type: 'client_credentials' }),
    // A token endpoint never redirects, and a redirect must not take the secret along.
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
