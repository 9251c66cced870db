/** A workload that keeps its token until shortly before it expires. */

interface Token {
  readonly accessToken: string
  /** On the monotonic clock, milliseconds. */
  readonly renewAt: number
}

const issuer = process.env.ISSUER ?? 'http://127.0.0.1:8080'
// Generated ids and secrets need no form encoding (RFC 6749 section 2.3.1); others do.
const credentials = `${process.env.CLIENT_ID}:${process.env.CLIENT_SECRET}`
let current: Token | undefined
let pending: Promise<Token> | undefined

async function fetchToken(): Promise<Token> {
  const reply = await fetch(`${issuer}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` },
    body: new URLSearchParams({ grant_type: 'client_credentials' }),
    signal: AbortSignal.timeout(5_000),
  })
  const body = (await reply.json()) as { access_token?: string; expires_in?: number; error?: string }
  if (body.access_token === undefined) throw new Error(`no token: ${reply.status} ${body.error}`)
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
  const url = process.argv[2] ?? 'http://127.0.0.1:3000/'
  const reply = await fetch(url, { headers: { authorization: `Bearer ${await getToken()}` } })
  console.log(reply.status, await reply.text())
}
