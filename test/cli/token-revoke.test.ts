import { createSecretKey } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { makeUlid } from '../../src/lib/id.ts'
import { forge, signerOf, startAccess } from '../support/access.ts'
import { mayfly } from '../support/process.ts'
import { claimsOf } from '../support/server.ts'

const realTime = { nowMilliseconds: () => Date.now(), monotonicMilliseconds: () => performance.now() }

/** A scene by the clock that the command line has, and the command line in its folder. */
async function start() {
  const scene = await startAccess({ clock: realTime })
  const run = async (args: readonly string[], input?: string) => {
    const ended = await mayfly([...args, '--json'], {
      cwd: scene.server.folder,
      ...(input === undefined ? {} : { input }),
    })
    const output = ended.code === 0 ? ended.stdout : ended.stderr.trim().split('\n').at(-1)
    return { ...ended, json: JSON.parse(output ?? '') as Record<string, unknown> }
  }
  return { ...scene, run }
}

describe('mayfly token revoke', () => {
  it('RV-06 ends an access token, named by itself or by its jti, from the next request on', async () => {
    const { server, begin, isActive, run } = await start()
    const [first, second, kept] = [await begin(), await begin(), await begin()]
    expect(await isActive(first.accessToken)).toBe(true)
    const byToken = await run(['token', 'revoke', '-'], `${first.accessToken}\n`)
    const { jti, exp } = claimsOf(first.accessToken)
    expect([byToken.code, byToken.json]).toEqual([
      0,
      {
        kind: 'access_token',
        jti,
        client_id: 'billing',
        expires_at: new Date(Number(exp) * 1000).toISOString(),
        revoked: true,
      },
    ])
    expect(byToken.stderr).toMatch(/^Changed .*mayfly\.db\n$/)
    const byJti = await run(['token', 'revoke', String(claimsOf(second.accessToken).jti)])
    expect(byJti.json).toMatchObject({ revoked: true, jti: claimsOf(second.accessToken).jti })
    for (const { accessToken } of [first, second]) expect(await isActive(accessToken)).toBe(false)
    expect(await isActive(kept.accessToken)).toBe(true)
    const events = await server.store.listAudit({ type: 'token.revoked', limit: 10 })
    expect(events).toHaveLength(2)
    for (const event of events)
      expect(event).toMatchObject({ clientId: 'billing', actor: expect.stringMatching(/^cli:/) })
    for (const again of [first.accessToken, String(jti)]) {
      const repeated = await run(['token', 'revoke', again])
      expect([repeated.code, repeated.json.revoked]).toEqual([0, false])
    }
    expect(await server.store.listAudit({ type: 'token.revoked', limit: 10 })).toHaveLength(2)
  }, 60_000)

  it('RV-01 ends the family of a refresh token, whichever of its tokens it is', async () => {
    const { server, begin, refresh, isActive, run } = await start()
    const { accessToken, refreshToken } = await begin()
    const next = await refresh(refreshToken)
    const { sid } = claimsOf(accessToken)
    const ended = await run(['token', 'revoke', refreshToken])
    expect([ended.code, ended.json]).toEqual([
      0,
      { kind: 'refresh_token', family: sid, client_id: 'billing', revoked: true },
    ])
    expect(ended.stderr.match(/Changed/g)).toHaveLength(1)
    expect((await refresh(String(next.json.refresh_token))).json.error).toBe('invalid_grant')
    expect(await isActive(accessToken)).toBe(false)
    expect(await server.store.listAudit({ type: 'family.ended', limit: 10 })).toMatchObject([
      { familyId: sid, reason: 'revoked', actor: expect.stringMatching(/^cli:/) },
    ])
    const text = await mayfly(['token', 'revoke', refreshToken], { cwd: server.folder })
    expect([text.code, text.stdout]).toEqual([0, expect.stringContaining('It had ended before: nothing was changed.')])
  }, 60_000)

  it('ends nothing for what is no token of ours, and says why in one sentence', async () => {
    const scene = await start()
    const { server, begin, isActive, run, client } = scene
    const { accessToken, refreshToken } = await begin()
    const signer = await signerOf(scene, 'ES256', 'active')
    const header = { typ: 'at+jwt', alg: 'ES256', kid: signer.kid }
    const [head, payload] = accessToken.split('.')
    const before = await server.store.readMarkSequence()
    const cases: readonly (readonly [string, RegExp])[] = [
      [makeUlid(Date.now()), /^no token [0-9A-Z]{26} is on record: .*audit list/],
      ['garbage', /it is not a signed JWT/],
      [`${head}.${payload}.${'A'.repeat(86)}`, /its signature is wrong/],
      [await forge(signer, header, { ...claimsOf(accessToken), sub: 'x' }), /somebody else may hold the signing key/],
      [client.secret, /it is not a signed JWT/],
      [refreshToken.replace(/.{6}$/, '000000'), /it is not a signed JWT/],
    ]
    for (const [text, sentence] of cases) {
      const ended = await run(['token', 'revoke', text])
      expect([ended.code, ended.json.message], text.slice(0, 30)).toEqual([1, expect.stringMatching(sentence)])
      if (text.length > 30) expect(ended.stderr).not.toContain(text.slice(-30))
    }
    const { makeTicket, parseTicket } = await import('../../src/token/ticket.ts')
    const { familyId = '' } = parseTicket(refreshToken) ?? {}
    const forged = makeTicket(
      { rootVersion: 1, familyId, generation: 0 },
      Buffer.alloc(16),
      createSecretKey(Buffer.alloc(32)),
    )
    expect((await run(['token', 'revoke', forged])).json.message).toMatch(/is of no family here/)
    expect((await run(['token', 'revoke', '-'], ' \n')).code).toBe(2)
    expect(await server.store.readMarkSequence()).toBe(before)
    expect(await isActive(accessToken)).toBe(true)
  }, 60_000)
})

describe('mayfly token inspect', () => {
  it('says of a refresh token how it stands with its family, and never shows it', async () => {
    const { server, begin, refresh, revoke, run } = await start()
    const first = await begin()
    const inspect = async (token: string) => {
      const { json, stdout, stderr, code } = await run(['token', 'inspect', token])
      expect([code, stderr]).toEqual([0, ''])
      expect(stdout).not.toContain(token.slice(40, 70))
      return json
    }
    const { sid } = claimsOf(first.accessToken)
    expect(await inspect(first.refreshToken)).toMatchObject({
      kind: 'refresh_token',
      active: true,
      reason: null,
      family: sid,
      generation: 0,
      current_generation: 0,
      client_id: 'billing',
      audience: 'https://api.example.test',
      scope: 'read write',
    })
    const second = String((await refresh(first.refreshToken)).json.refresh_token)
    expect(await inspect(first.refreshToken)).toMatchObject({ active: true, generation: 0, current_generation: 1 })
    const third = String((await refresh(second)).json.refresh_token)
    expect(await inspect(first.refreshToken)).toMatchObject({
      active: false,
      reason: expect.stringContaining('it was used already'),
    })
    expect(await inspect(third)).toMatchObject({ active: true, generation: 2 })
    expect(await server.store.listAudit({ type: 'family.ended', limit: 10 })).toEqual([])
    await server.store.setClientStatus('billing', 'disabled', 'cli:test')
    expect(await inspect(third)).toMatchObject({ active: false, reason: 'its client is disabled' })
    await server.store.setClientStatus('billing', 'active', 'cli:test')
    expect(await inspect(third)).toMatchObject({
      active: false,
      reason: expect.stringContaining('with everything else'),
    })
    await revoke(third)
    expect(await inspect(third)).toMatchObject({ active: false, reason: 'its family was ended (revoked)' })
    const { makeTicket } = await import('../../src/token/ticket.ts')
    const forged = makeTicket(
      { rootVersion: 1, familyId: String(sid), generation: 2 },
      Buffer.alloc(16),
      createSecretKey(Buffer.alloc(32)),
    )
    expect(await inspect(forged)).toMatchObject({
      active: false,
      reason: expect.stringContaining('it is forged'),
      client_id: null,
    })
  }, 90_000)
})
