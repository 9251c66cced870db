import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { systemClock } from '../src/lib/clock.ts'
import { describeError } from '../src/lib/log.ts'
import { Secret } from '../src/lib/secret.ts'
import { createLogger } from '../src/logger.ts'
import { AssertionMaker, formOf, makeTestKey } from './support/assertion.ts'
import { mayfly, mayflyJson, serve, temporaryFolder } from './support/process.ts'
import { sendRaw } from './support/raw.ts'
import { api, basic, type Reply, request, requestToken } from './support/server.ts'

function allFiles(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile())
}

describe('I12 CA-13 secrets', () => {
  it('stand in nothing that is written: database, log, metrics, audit trail, replies', {
    timeout: 60_000,
  }, async () => {
    const cwd = temporaryFolder()
    const server = await serve({ cwd, env: { MAYFLY_LOG_LEVEL: 'debug' } })
    await mayflyJson(['resource', 'create', api, '--scope', 'read'], { cwd })
    const made = await mayflyJson<{ client_secret: string }>(
      ['client', 'create', 'job', '--audience', api, '--scope', 'read'],
      { cwd },
    )
    const imported = 'canary-imported-secret-93'
    await mayfly(['client', 'create', 'legacy', '--audience', api, '--secret-stdin'], { cwd, input: imported })
    const secret = made.client_secret
    const canaries = [
      'canary-wrong-secret-17',
      'canary-in-query-23',
      'canary-assertion-31',
      'canary-bearer-47',
      'canary-param-59',
      'canary-id-71',
      'canary-scope-79',
      'canary-dpop-83',
      'canary-revoked-89',
      'canary-asked-97',
    ]
    const [
      wrong = '',
      query = '',
      assertion = '',
      bearer = '',
      parameter = '',
      id = '',
      scope = '',
      dpop = '',
      revoked = '',
      asked = '',
    ] = canaries
    const grant = { grant_type: 'client_credentials' }
    const replies = [
      await requestToken(server, grant, { authorization: basic('job', secret) }),
      await requestToken(server, grant, { authorization: basic('legacy', imported) }),
      await requestToken(server, grant, { authorization: basic('job', wrong) }),
      await requestToken(server, grant, { authorization: basic(secret, 'job') }),
      await requestToken(server, grant, { authorization: basic(id, 'x') }),
      await requestToken(server, grant, { authorization: `Bearer ${bearer}` }),
      await requestToken(server, grant, { authorization: `Basic ${wrong}`, dpop }),
      await requestToken(server, { ...grant, client_assertion: assertion, client_assertion_type: 'x' }),
      await requestToken(server, grant, { authorization: basic('job', secret), dpop }),
      await requestToken(server, { ...grant, client_id: 'job', client_secret: secret }),
      await requestToken(server, { grant_type: parameter, client_secret: wrong }),
      await requestToken(server, { ...grant, scope }, { authorization: basic('job', secret) }),
      await request(`${server.url}/token?client_secret=${query}`, { method: 'POST' }),
      await request(`${server.url}/${query}`),
    ]
    await sendRaw(server.url, `GET /${query} HTTP/9.9\r\nX: ${bearer}\r\n\r\n`)
    await sendRaw(
      server.url,
      `POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 99\r\nConnection: close\r\n\r\nclient_secret=${wrong}%ZZ`.padEnd(
        400,
        '%',
      ),
    )
    const tokens = replies.map((reply) => reply.json.access_token).filter((token) => typeof token === 'string')
    expect(tokens).toHaveLength(2)
    const [token = ''] = tokens
    const post = (path: string, body: string) =>
      request(`${server.url}${path}`, {
        method: 'POST',
        body: new URLSearchParams({ token: body }),
        headers: { authorization: basic('job', secret) },
      })
    for (const text of [revoked, `eyJ.${revoked}.x`, token.replace(/.{9}$/, 'AAAAAAAAA')]) {
      replies.push(await post('/revoke', text), await post('/introspect', text))
    }
    for (const text of [asked, `eyJ.${asked}.x`, token]) {
      const headers = { authorization: `Bearer ${text}`, dpop }
      replies.push(await request(`${server.url}/verify?audience=${asked}&scope=${asked}`, { headers }))
    }
    await mayfly(['token', 'revoke', '-'], { cwd, input: `${token}\n` })
    await mayfly(['token', 'revoke', token], { cwd })
    const metrics = await request(`${server.url}/metrics`)
    const audit = await mayfly(['audit', 'list', '--json'], { cwd })
    const listed = await mayfly(['client', 'show', 'job', '--json'], { cwd })
    expect(JSON.parse(audit.stdout).length).toBeGreaterThan(10)
    await server.end('SIGTERM')

    const signatures = tokens.map((token) => token.split('.')[2] ?? '')
    const secrets = [...canaries, secret, secret.slice(20, 63), imported, ...tokens, ...signatures]
    const encodings = secrets.flatMap((text) => [
      text,
      Buffer.from(text).toString('base64').slice(0, -4),
      Buffer.from(text).toString('hex'),
    ])
    const written: [string, string][] = [
      ['output', server.output()],
      ['metrics', metrics.text],
      ['audit list', audit.stdout],
      ['client show', listed.stdout],
      ...replies
        .filter((reply) => reply.json.access_token === undefined)
        .map((reply): [string, string] => ['reply', reply.text]),
      ...allFiles(cwd).map((path): [string, string] => [path, readFileSync(path, 'latin1')]),
    ]
    expect(server.output()).toContain('"reason":"secret_wrong"')
    for (const [where, text] of written) {
      for (const needle of encodings) expect(text.includes(needle), `${needle} in ${where}`).toBe(false)
    }
  })

  it('of refresh families do not either, those that were used, reused and put in the wrong place', {
    timeout: 60_000,
  }, async () => {
    const cwd = temporaryFolder()
    const server = await serve({ cwd, env: { MAYFLY_LOG_LEVEL: 'debug' } })
    await mayflyJson(['resource', 'create', api, '--scope', 'read'], { cwd })
    const grants = ['--grant-type', 'client_credentials', '--grant-type', 'refresh_token']
    const made = await mayflyJson<{ client_secret: string }>(
      ['client', 'create', 'job', '--audience', api, '--scope', 'read', ...grants],
      { cwd },
    )
    const authorization = basic('job', made.client_secret)
    const ask = (form: Readonly<Record<string, string>>) => requestToken(server, form, { authorization })
    const grant_type = 'refresh_token'
    const tickets = [String((await ask({ grant_type: 'client_credentials' })).json.refresh_token)]
    for (let i = 0; i < 2; i += 1) {
      tickets.push(String((await ask({ grant_type, refresh_token: tickets.at(-1) ?? '' })).json.refresh_token))
    }
    const [first = '', , last = ''] = tickets
    const refused = [
      await ask({ grant_type, refresh_token: last, scope: first }),
      await ask({ grant_type, refresh_token: last, resource: first }),
      await ask({ grant_type: first }),
      await ask({ grant_type, refresh_token: first }),
      await ask({ grant_type, refresh_token: last }),
      await requestToken(server, { grant_type, refresh_token: last, client_id: last, client_secret: last }),
      await requestToken(server, { grant_type }, { authorization: `Bearer ${last}` }),
      await request(`${server.url}/token?refresh_token=${last}`, { method: 'POST' }),
    ]
    const metrics = await request(`${server.url}/metrics`)
    const audit = await mayfly(['audit', 'list', '--json'], { cwd })
    const typed = await mayfly(['client', 'update', 'job', '--name', last], { cwd })
    await server.end('SIGTERM')
    expect(audit.stdout).toContain('"family.ended"')
    expect(server.output()).toContain('"reason":"refresh_ended"')
    const written: [string, string][] = [
      ['output', server.output()],
      ['metrics', metrics.text],
      ['audit list', audit.stdout],
      ['client update', typed.stdout + typed.stderr],
      ...refused.map((reply): [string, string] => ['reply', reply.text]),
      ...allFiles(cwd).map((path): [string, string] => [path, readFileSync(path, 'latin1')]),
    ]
    // The end of a ticket alone: prefix, family and generation are no secret.
    for (const [where, text] of written) {
      for (const ticket of tickets) expect(text.includes(ticket.slice(42, 85)), `a ticket in ${where}`).toBe(false)
    }
  })

  it('of clients with keys do not either: assertions that were used, replayed, forged and put in the wrong place', {
    timeout: 60_000,
  }, async () => {
    const cwd = temporaryFolder()
    const key = makeTestKey('ES256', 'one')
    writeFileSync(join(cwd, 'jwks.json'), JSON.stringify({ keys: [key.publicKey.jwk] }))
    const server = await serve({ cwd, env: { MAYFLY_LOG_LEVEL: 'debug' } })
    await mayflyJson(['resource', 'create', api, '--scope', 'read'], { cwd })
    await mayflyJson(['client', 'create', 'job', '--audience', api, '--jwks', 'jwks.json'], { cwd })
    const maker = new AssertionMaker('job', server.url, key, systemClock)
    const canary = 'canary-claim-53'
    const good = maker.make({ jti: `${canary}-good`, note: canary })
    const forged = new AssertionMaker('job', server.url, makeTestKey('ES256', 'one'), systemClock)
    const assertions = [
      good,
      good,
      forged.make({ jti: canary }),
      maker.make({ aud: `https://${canary}.test` }),
      maker.make({ iss: canary, sub: canary }),
      maker.make({ jti: canary.repeat(20) }),
      maker.make({}, { kid: canary }),
      maker.make({}, { typ: canary }),
    ]
    const replies: Reply[] = []
    for (const assertion of assertions) replies.push(await requestToken(server, formOf(assertion)))
    expect(replies.map(({ status }) => status)).toEqual([200, ...assertions.slice(1).map(() => 400)])
    const misplaced = maker.make({ jti: canary })
    await requestToken(server, { grant_type: misplaced })
    await requestToken(server, formOf(good), { authorization: `Bearer ${misplaced}` })
    await request(`${server.url}/token?client_assertion=${misplaced}`, { method: 'POST' })
    const metrics = await request(`${server.url}/metrics`)
    const audit = await mayfly(['audit', 'list', '--json'], { cwd })
    await server.end('SIGTERM')
    expect(server.output()).toContain('"reason":"assertion_replayed"')
    const written: [string, string][] = [
      ['output', server.output()],
      ['metrics', metrics.text],
      ['audit list', audit.stdout],
      ...replies.slice(1).map((reply): [string, string] => ['reply', reply.text]),
      ...allFiles(cwd).map((path): [string, string] => [path, readFileSync(path, 'latin1')]),
    ]
    const parts = [...assertions, misplaced].flatMap((assertion) => assertion.split('.').slice(1))
    for (const [where, text] of written) {
      for (const needle of [canary, ...parts]) expect(text.includes(needle), `${needle} in ${where}`).toBe(false)
    }
  })

  it.each([false, true])('are redacted in the log even if somebody hands them to it (readable: %s)', (readable) => {
    // The name of this file stands in the log.
    const planted = 'planted-word'
    let output = ''
    const write = (data: string | Uint8Array): number => {
      output += data.toString()
      return data.length
    }
    const { log } = createLogger({ write }, { level: 'debug', readable })
    const cause = Object.assign(new Error('inner'), { code: 'SQLITE_FULL' })
    log.error({ err: describeError(new Error('outer', { cause })) }, 'failed')
    const headers = { authorization: planted, dpop: planted }
    log.info({ client_secret: planted, headers, s: new Secret(planted) }, 'hello')
    expect(output).toContain('hello')
    expect(output).toContain('"code":"SQLITE_FULL"')
    expect(output).not.toContain(planted)
  })
})
