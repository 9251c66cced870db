/** Bound tokens at the endpoint for proxies, black box: RFC 9449 section 7. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { clientCert, makeIdentity } from '../support/certificates.ts'
import { api, type DpopScene, startDpop } from '../support/dpop.ts'
import { seed } from '../support/hostile.ts'
import { athOf, makeProof, makeProofKey, malleate, type ProofParts } from '../support/proof.ts'
import { sendRaw } from '../support/raw.ts'
import { addClient, addResource, claimsOf, type Reply, request } from '../support/server.ts'

const audience = `?audience=${encodeURIComponent(api)}`
const dpop = 'DPoP realm="mayfly", algs="ES256 RS256 PS256 Ed25519 EdDSA"'
const service = 'https://service.example.test'
const behindProxy = { env: { MAYFLY_TRUSTED_PROXIES: '127.0.0.1/32' } }
/** What a proxy says of `GET https://service.example.test/invoices?page=2`. */
const told = {
  'x-forwarded-method': 'GET',
  'x-forwarded-proto': 'https',
  'x-forwarded-host': 'service.example.test',
  'x-forwarded-uri': '/invoices?page=2',
}

interface VerifyScene extends DpopScene {
  readonly token: string
  /** A good proof for that request, but for what is changed. */
  proveUse(parts?: ProofParts, key?: DpopScene['key']): string
  verify(headers?: Readonly<Record<string, string>>, query?: string): Promise<Reply>
}

async function start(options = behindProxy): Promise<VerifyScene> {
  const scene = await startDpop(options)
  const token = String((await scene.ask()).json.access_token)
  const proveUse = ({ claims, header }: ProofParts = {}, key = scene.key): string => {
    const good = { htm: 'GET', ath: athOf(token), ...claims }
    return makeProof(key, `${service}/invoices`, scene.clock.nowMilliseconds(), {
      claims: good,
      ...(header && { header }),
    })
  }
  const verify = (headers: Readonly<Record<string, string>> = {}, query = audience): Promise<Reply> =>
    request(`${scene.server.url}/verify${query}`, {
      headers: { authorization: `DPoP ${token}`, dpop: proveUse(), ...told, ...headers },
    })
  return { ...scene, token, proveUse, verify }
}

const seen = ({ status, headers, text }: Reply): unknown[] => [status, headers.get('www-authenticate'), text]

describe('GET /verify for a bound token', () => {
  it('DP-22 lets it pass with a proof for the request that the proxy tells of, and says what it is bound to', async () => {
    const { verify, key } = await start()
    const reply = await verify()
    expect(seen(reply)).toEqual([200, null, ''])
    expect(reply.headers.get('x-mayfly-subject')).toBe('billing')
    expect(reply.headers.get('x-mayfly-confirmation')).toBe(JSON.stringify({ jkt: key.jkt }))
  })

  it('DP-10 DP-11 compares the URL as RFC 3986 does, and with any method', async () => {
    const { verify, proveUse } = await start()
    for (const htu of [`${service}:443/invoices#x`, 'HTTPS://SERVICE.example.test/%69nvoices?other=1'])
      expect((await verify({ dpop: proveUse({ claims: { htu } }) })).status, htu).toBe(200)
    const post = await verify({ dpop: proveUse({ claims: { htm: 'POST' } }), 'x-forwarded-method': 'POST' })
    expect(post.status).toBe(200)
  })

  it('knows a path and a query with commas, which are no list', async () => {
    const { verify, proveUse } = await start()
    const htu = `${service}/invoices/1,2`
    for (const uri of ['/invoices/1,2', '/invoices/1,2?fields=id,total,', '/invoices/1,2?,'])
      expect((await verify({ dpop: proveUse({ claims: { htu } }), 'x-forwarded-uri': uri })).status, uri).toBe(200)
  })

  it('takes the scheme in any case', async () => {
    const { verify, token } = await start()
    expect((await verify({ authorization: `dpop ${token}` })).status).toBe(200)
    expect((await verify({ authorization: `DPOP  ${token}` })).status).toBe(200)
  })

  const badProofs: readonly [string, (scene: VerifyScene) => Readonly<Record<string, string>>][] = [
    ['DP-23 no ath', ({ proveUse }) => ({ dpop: proveUse({ claims: { ath: undefined } }) })],
    ['DP-23 C19 the ath of another token', ({ proveUse }) => ({ dpop: proveUse({ claims: { ath: athOf('x') } }) })],
    ['another method', () => ({ 'x-forwarded-method': 'POST' })],
    ['another path', () => ({ 'x-forwarded-uri': '/invoices/1' })],
    ['another host', () => ({ 'x-forwarded-host': 'other.example.test' })],
    ['another port', () => ({ 'x-forwarded-host': 'service.example.test:8443' })],
    ['another scheme', () => ({ 'x-forwarded-proto': 'http' })],
    [
      'a date of before',
      ({ proveUse, clock }) => ({ dpop: proveUse({ claims: { iat: clock.nowMilliseconds() / 1000 - 61 } }) }),
    ],
    [
      'a date ahead',
      ({ proveUse, clock }) => ({ dpop: proveUse({ claims: { iat: clock.nowMilliseconds() / 1000 + 11 } }) }),
    ],
    ['a proof that is none', () => ({ dpop: 'a.b.c' })],
    ['an empty proof', () => ({ dpop: '' })],
    ['another type', ({ proveUse }) => ({ dpop: proveUse({ header: { typ: 'JWT' } }) })],
  ]

  it.each(badProofs)('refuses %s with 401 and invalid_dpop_proof', async (_, make) => {
    const scene = await start()
    const reply = await scene.verify(make(scene))
    expect(seen(reply)).toEqual([401, `${dpop}, error="invalid_dpop_proof"`, ''])
    expect(reply.headers.get('x-mayfly-subject')).toBeNull()
    expect((await scene.verify()).status).toBe(200)
  })

  it('DP-23 refuses the lack of a proof, and two of them', async () => {
    const { server, token, proveUse } = await start()
    const ask = (fields: readonly string[]) =>
      sendRaw(
        server.url,
        [
          `GET /verify${audience} HTTP/1.1`,
          'Host: x',
          `Authorization: DPoP ${token}`,
          ...Object.entries(told).map(([name, value]) => `${name}: ${value}`),
          ...fields,
          'Connection: close',
          '\r\n',
        ].join('\r\n'),
      )
    const [one, other] = [proveUse(), proveUse()]
    for (const fields of [
      [],
      [`DPoP: ${one}`, `DPoP: ${one}`],
      [`DPoP: ${one}`, `DPoP: ${other}`],
      [`DPoP: ${one}, ${other}`],
    ]) {
      const { status, head } = await ask(fields)
      expect([status, head]).toEqual([401, expect.stringContaining('error="invalid_dpop_proof"')])
    }
    expect((await ask([`DPoP: ${one}`])).status).toBe(200)
  })

  it('DP-23 C14 refuses a proof of another key as invalid_token', async () => {
    const { verify, proveUse } = await start()
    const reply = await verify({ dpop: proveUse({}, makeProofKey()) })
    expect(seen(reply)).toEqual([401, `${dpop}, error="invalid_token"`, ''])
  })

  it('DP-24 C14 refuses it as a bearer, with its proof or without, and says how it is to come', async () => {
    const { server, verify, token } = await start()
    const authorization = `Bearer ${token}`
    const bare = await request(`${server.url}/verify${audience}`, { headers: { authorization } })
    for (const reply of [bare, await verify({ authorization })])
      expect(seen(reply)).toEqual([401, `${dpop}, error="invalid_token"`, ''])
  })

  it('refuses a token that is bound to nothing under the scheme of those that are', async () => {
    const { ask, verify, proveUse } = await start()
    const free = String((await ask({}, { proof: null })).json.access_token)
    const proof = proveUse({ claims: { ath: athOf(free) } })
    const reply = await verify({ authorization: `DPoP ${free}`, dpop: proof })
    expect(seen(reply)).toEqual([401, `${dpop}, error="invalid_token"`, ''])
    const asBearer = await verify({ authorization: `Bearer ${free}` })
    expect([asBearer.status, asBearer.headers.get('x-mayfly-confirmation')]).toEqual([200, ''])
  })

  it('DP-25 C03 refuses two ways to send a token at once, in the challenge of each', async () => {
    const { server, token } = await start()
    const fields = [
      `Authorization: Bearer ${token}`,
      `Authorization: DPoP ${token}`,
      'Host: x',
      'Connection: close',
      '\r\n',
    ]
    const { status, head } = await sendRaw(server.url, [`GET /verify${audience} HTTP/1.1`, ...fields].join('\r\n'))
    expect(status).toBe(400)
    expect(head).toContain(`Bearer realm="mayfly", error="invalid_request", ${dpop}, error="invalid_request"`)
  })

  it('refuses what is no active token before it looks at any proof', async () => {
    const { verify, clock, token } = await start()
    for (const text of ['x', `${token}x`, 'a,b']) {
      const reply = await verify({ authorization: `DPoP ${text}`, dpop: 'a.b.c' })
      expect(seen(reply)).toEqual([401, `${dpop}, error="invalid_token"`, ''])
    }
    clock.advance(300)
    expect((await verify()).status).toBe(401)
  })

  it('says insufficient_scope and another audience as it does to bearers, and uses no proof up for it', async () => {
    const { verify, proveUse, server } = await start()
    await addResource(server.store, 'https://other.example.test')
    const proof = proveUse()
    const lacking = await verify({ dpop: proof }, `${audience}&scope=admin`)
    expect(seen(lacking)).toEqual([403, `${dpop}, error="insufficient_scope", scope="admin"`, ''])
    const elsewhere = await verify({ dpop: proof }, '?audience=https%3A%2F%2Fother.example.test')
    expect(seen(elsewhere)).toEqual([401, `${dpop}, error="invalid_token"`, ''])
    expect((await verify({ dpop: proof })).status).toBe(200)
  })
})

describe('a token that is bound to a key and a certificate', () => {
  it('I16 C14 passes with the proof and the certificate, and with neither alone', async () => {
    const scene = await startDpop(behindProxy, { certificateBound: true })
    const { ask, clock, key, server } = scene
    const [own, other] = [clientCert(await makeIdentity()), clientCert(await makeIdentity())]
    const reply = await ask({}, { headers: { 'client-cert': own } })
    const token = String(reply.json.access_token)
    expect(reply.json.token_type).toBe('DPoP')
    expect(claimsOf(token).cnf).toEqual({ jkt: key.jkt, 'x5t#S256': expect.any(String) })
    const verify = (headers: Readonly<Record<string, string>>, scheme = 'DPoP') =>
      request(`${server.url}/verify${audience}`, {
        headers: { authorization: `${scheme} ${token}`, ...told, ...headers },
      })
    const prove = () =>
      makeProof(key, `${service}/invoices`, clock.nowMilliseconds(), { claims: { htm: 'GET', ath: athOf(token) } })
    expect((await verify({ dpop: prove(), 'client-cert': own })).status).toBe(200)
    expect((await verify({ dpop: prove() })).status).toBe(401)
    expect((await verify({ dpop: prove(), 'client-cert': other })).status).toBe(401)
    expect((await verify({ 'client-cert': own })).status).toBe(401)
    expect((await verify({ 'client-cert': own }, 'Bearer')).status).toBe(401)
    // Neither is shed by a refresh, and each is needed for it.
    const refresh = (headers: Readonly<Record<string, string>>, proof?: null) =>
      scene.refresh(reply.json.refresh_token, { headers, ...(proof === undefined ? {} : { proof }) })
    expect((await refresh({ 'client-cert': own }, null)).json.error).toBe('invalid_dpop_proof')
    expect((await refresh({})).status).toBe(400)
    expect(claimsOf(String((await refresh({ 'client-cert': own })).json.access_token)).cnf).toEqual(claimsOf(token).cnf)
  })
})

describe('a token that is bound to a certificate alone', () => {
  it('C14 is a bearer token still, and is challenged as one where its certificate is not there', async () => {
    const { ask, server } = await startDpop(behindProxy, { certificateBound: true })
    const own = { 'client-cert': clientCert(await makeIdentity()) }
    const token = String((await ask({}, { proof: null, headers: own })).json.access_token)
    const verify = (headers: Readonly<Record<string, string>>) =>
      request(`${server.url}/verify${audience}`, { headers: { authorization: `Bearer ${token}`, ...headers } })
    expect((await verify(own)).status).toBe(200)
    expect(seen(await verify({}))).toEqual([401, 'Bearer realm="mayfly", error="invalid_token"', ''])
  })
})

describe('what a proxy says of a request', () => {
  it.each(Object.keys(told))('must have %s', async (name) => {
    const { server, token, proveUse } = await start()
    const { [name as keyof typeof told]: _, ...others } = told
    const headers = { authorization: `DPoP ${token}`, dpop: proveUse(), ...others }
    const reply = await request(`${server.url}/verify${audience}`, { headers })
    expect(seen(reply)).toEqual([401, `${dpop}, error="invalid_token"`, ''])
  })

  it.each([
    { 'x-forwarded-method': 'GET, POST' },
    { 'x-forwarded-method': '' },
    { 'x-forwarded-proto': 'https, http' },
    { 'x-forwarded-proto': 'ftp' },
    { 'x-forwarded-proto': 'https://evil.test/x?' },
    { 'x-forwarded-host': 'service.example.test, evil.test' },
    { 'x-forwarded-host': 'user@service.example.test' },
    { 'x-forwarded-host': 'evil.test/invoices?' },
    { 'x-forwarded-uri': 'invoices' },
    { 'x-forwarded-uri': '@evil.test/' },
    { 'x-forwarded-uri': '/invoices, /other' },
    { 'x-forwarded-uri': '/invoices?,/other' },
    { 'x-forwarded-uri': `/invoices?,${service}/other` },
    { 'x-forwarded-uri': '/invoices?, other' },
    { 'x-forwarded-uri': `${service}/invoices` },
  ])('is not believed as %j', async (headers) => {
    const { verify } = await start()
    expect((await verify(headers)).status).toBe(401)
  })

  it('HTTP-14 H09 is not believed of a stranger: then no bound token passes', async () => {
    for (const env of [{}, { MAYFLY_TRUSTED_PROXIES: '192.0.2.0/24' }]) {
      const { verify } = await start({ env: { MAYFLY_TRUSTED_PROXIES: '', ...env } })
      for (const headers of [{}, { 'x-forwarded-for': '192.0.2.1' }, { forwarded: 'for=192.0.2.1' }])
        expect(seen(await verify(headers))).toEqual([401, `${dpop}, error="invalid_token"`, ''])
    }
  })

  it('is no list of what several said, though Node would join it', async () => {
    const { server, token, proveUse } = await start()
    for (const [name, value] of Object.entries(told)) {
      const fields = [...Object.entries(told), [name, value]].map(([each, text]) => `${each}: ${text}`)
      const head = [`GET /verify${audience} HTTP/1.1`, 'Host: x', `Authorization: DPoP ${token}`, `DPoP: ${proveUse()}`]
      const { status } = await sendRaw(server.url, [...head, ...fields, 'Connection: close', '\r\n'].join('\r\n'))
      expect(status, name).toBe(401)
    }
  })
})

describe('a proof that comes to /verify again', () => {
  it('DP-14 C16 is refused, however it is spelt', async () => {
    const { verify, proveUse } = await start()
    const proof = proveUse({ claims: { jti: 'once' } })
    expect((await verify({ dpop: proof })).status).toBe(200)
    for (const again of [proof, malleate(proof), proveUse({ claims: { jti: 'once', foo: 1 } })])
      expect(seen(await verify({ dpop: again }))).toEqual([401, `${dpop}, error="invalid_dpop_proof"`, ''])
  })

  it('C16 counts once of 50 that come at once', async () => {
    const { verify, proveUse } = await start()
    const proof = proveUse()
    const replies = await Promise.all(Array.from({ length: 50 }, () => verify({ dpop: proof })))
    expect(replies.filter(({ status }) => status === 200)).toHaveLength(1)
  })

  it('is not known to another process, for nothing is written here', async () => {
    const { verify, proveUse, startAgain, token, server } = await start()
    const before = await server.store.listAudit({ limit: 100 })
    const proof = proveUse()
    expect((await verify({ dpop: proof })).status).toBe(200)
    const second = await startAgain()
    const headers = { authorization: `DPoP ${token}`, dpop: proof, ...told }
    expect((await request(`${second.url}/verify${audience}`, { headers })).status).toBe(200)
    expect(await server.store.listAudit({ limit: 100 })).toEqual(before)
  })

  it('is over when it is over, also for a clock that has gone back', async () => {
    const { verify, proveUse, clock } = await start()
    const proof = proveUse()
    expect((await verify({ dpop: proof })).status).toBe(200)
    clock.advance(61)
    expect((await verify()).status).toBe(200)
    clock.step(-61)
    expect((await verify({ dpop: proof })).status).toBe(401)
  })
})

describe('bound tokens and other endpoints', () => {
  it('AT-08 a proof for a service is none for the token endpoint, and the other way round', async () => {
    const { ask, verify, prove, proveUse, token } = await start()
    expect((await ask({}, { proof: proveUse() })).json.error).toBe('invalid_dpop_proof')
    const other = prove({ claims: { ath: athOf(token) } })
    expect((await verify({ dpop: other })).status).toBe(401)
  })

  it(`I21 answers whatever stands in the headers with 200, 401 or 403 (FC_SEED=${seed})`, {
    timeout: 60_000,
  }, async () => {
    const scene = await start()
    const printable = fc.string({ unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)) })
    const value = fc.oneof(
      printable,
      fc.constantFrom('', 'DPoP', 'DPoP ', 'Bearer x', 'GET', 'https', '/', 'a.b.c', '[::1]'),
    )
    const names = fc.constantFrom('dpop', 'authorization', ...Object.keys(told))
    const property = fc.asyncProperty(fc.dictionary(names, value), async (headers) => {
      const reply = await scene.verify(headers)
      expect([200, 401, 403]).toContain(reply.status)
      expect(reply.text).toBe('')
      if (reply.status !== 200) expect(reply.headers.get('x-mayfly-subject')).toBeNull()
    })
    await fc.assert(property, { seed, numRuns: 150 })
  })

  it('does not ask a bearer for a proof', async () => {
    const { server, ask } = await start()
    const plain = await addClient(server.store, 'plain')
    const token = String((await ask({}, { proof: null, as: plain })).json.access_token)
    for (const dpopHeader of [{}, { dpop: 'garbage' }]) {
      const headers = { authorization: `Bearer ${token}`, ...dpopHeader }
      expect((await request(`${server.url}/verify${audience}`, { headers })).status).toBe(200)
    }
  })
})
