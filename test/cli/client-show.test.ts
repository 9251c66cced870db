import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openStore } from '../../src/store/open-store.ts'
import { mayfly, mayflyJson } from '../support/process.ts'

const api = 'https://api.example.test'
let cwd = ''

interface Shown {
  readonly tokens_per_hour: number | null
  readonly tokens_this_hour?: number
  readonly proves_itself_by: readonly string[]
  readonly may_get: readonly string[]
  readonly weak_points: readonly string[]
}

const show = (id: string) => mayflyJson<Shown>(['client', 'show', id], { cwd })

beforeAll(async () => {
  cwd = mkdtempSync(join(tmpdir(), 'mayfly-show-'))
  await mayflyJson(['db', 'migrate'], { cwd })
  await mayflyJson(['resource', 'create', api, '--scope', 'read write'], { cwd })
  await mayflyJson(['client', 'create', 'billing', '--audience', api, '--scope', 'read write'], { cwd })
})

afterAll(() => rmSync(cwd, { recursive: true, force: true }))

describe('client show', () => {
  it('says how a client proves itself, what it may get, and what is weak about it', async () => {
    const shown = await show('billing')
    expect(shown.proves_itself_by).toEqual([
      'a secret in the Authorization header (client_secret_basic)',
      expect.stringMatching(/^secret sec_\w+: generated, \w+ old, no end, never used$/),
    ])
    expect(shown.may_get).toEqual([
      `tokens for ${api}, scope read write, of 5m`,
      'good in any hands unless it asks with a DPoP proof, by client_credentials',
    ])
    expect(shown.weak_points).toEqual([
      expect.stringMatching(/never expires/),
      expect.stringMatching(/bound to no key/),
      expect.stringMatching(/every scope/),
    ])
  })

  it('says it in words below the table, and names commands as they are called here', async () => {
    const { stdout } = await mayfly(['client', 'show', 'billing'], { cwd })
    expect(stdout).toMatch(/^client_id +billing$/m)
    for (const heading of ['It proves itself by', 'It may get', 'What is weak about it'])
      expect(stdout).toMatch(new RegExp(`^${heading}\\n {2}\\S`, 'm'))
    expect(stdout).toContain('`npx --no mayfly secret create billing`')
  })

  it('shows the quota and how much of the hour is used, and none where there is none', async () => {
    expect(await show('billing')).toMatchObject({ tokens_per_hour: null })
    expect(await show('billing')).not.toHaveProperty('tokens_this_hour')
    await mayflyJson(['client', 'update', 'billing', '--tokens-per-hour', '5'], { cwd })
    const store = openStore(join(cwd, 'data/mayfly.db'), { create: false, examine: false })
    const sequence = await store.readRegistrySequence()
    for (let i = 0; i < 4; i += 1) {
      const now = Date.now()
      const record = {
        jti: `01TESTTESTTESTTESTTESTTES${i}`,
        clientId: 'billing',
        subject: 'billing',
        grantType: 'client_credentials',
        secretId: 'sec_a',
        audience: api,
        kid: 'kid',
        expiresAt: Math.floor(now / 1000) + 300,
        requestId: 'req_x',
        address: '127.0.0.1',
      } as const
      expect(await store.recordIssuance(record, sequence, { tokensPerHour: 5 })).toBe('recorded')
    }
    await store.close()
    const shown = await show('billing')
    expect(shown).toMatchObject({ tokens_per_hour: 5, tokens_this_hour: 4 })
    expect(shown.may_get).toContain('at most 5 tokens an hour, 4 of them in this one')
    const doctor = await mayfly(['doctor', '--json'], { cwd })
    const findings = JSON.parse(doctor.stdout) as { check: string; status: string; detail: string }[]
    expect(findings.filter(({ check }) => check === 'clients')).toEqual([
      expect.objectContaining({
        status: 'warning',
        detail: expect.stringMatching(/^billing has had 4 of its 5 tokens of this hour: /),
      }),
      expect.objectContaining({
        status: 'ok',
        detail: expect.stringMatching(/^1, 1 with weak points \(secret without an end 1, no binding 1, wide scope 1\)/),
      }),
    ])
    await mayflyJson(['client', 'update', 'billing', '--no-tokens-per-hour'], { cwd })
    expect(await show('billing')).toMatchObject({ tokens_per_hour: null })
  })

  it('takes a quota when a client is made', async () => {
    const made = await mayflyJson<Shown>(
      ['client', 'create', 'metered', '--audience', api, '--tokens-per-hour', '1000'],
      { cwd },
    )
    expect(made.tokens_per_hour).toBe(1_000)
  })

  it.each(['0', '-1', '1.5', '1e3', '1000000000', 'many', ''])('refuses a quota of %j', async (quota) => {
    const ended = await mayfly(['client', 'update', 'billing', `--tokens-per-hour=${quota}`, '--json'], { cwd })
    expect([ended.code, ended.stdout]).toEqual([2, ''])
    expect(ended.stderr).toContain('it takes a whole number from 1 to 999999999')
  })

  it('does not show a client that there is not', async () => {
    expect((await mayfly(['client', 'show', 'nobody'], { cwd })).code).toBe(1)
  })
})
