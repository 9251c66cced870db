import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Command as Program } from 'commander'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildProgram } from '../../src/cli/cli.ts'
import { commands } from '../../src/cli/commands.ts'
import { openStore } from '../../src/store/open-store.ts'
import { cleanEnvironment, type Finished, launcher, mayfly, temporaryFolder } from '../support/process.ts'

const api = 'https://api.example.test'
const rfc3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/
let cwd = ''

type Json = Record<string, unknown>

/** Runs a command with --json and returns its document; fails when the command does. */
async function ok<T = Json>(...args: string[]): Promise<T> {
  const ended = await mayfly([...args, '--json'], { cwd })
  expect([ended.code, ended.stderr.includes('"error"')], ended.stderr).toEqual([0, false])
  return JSON.parse(ended.stdout) as T
}

/** Runs a command that must not do it; its error is one JSON document on stderr and nothing on stdout. */
async function refused(code: 1 | 2, ...args: string[]): Promise<{ error: string; message: string }> {
  const ended = await mayfly([...args, '--json'], { cwd })
  expect([ended.code, ended.stdout], ended.stderr).toEqual([code, ''])
  return JSON.parse(ended.stderr) as { error: string; message: string }
}

beforeAll(async () => {
  cwd = mkdtempSync(join(tmpdir(), 'mayfly-cli-'))
  const migrated = await ok('db', 'migrate')
  expect(migrated).toMatchObject({ database: join(cwd, 'data/mayfly.db'), made_keys: true, made_master_key: true })
  await ok('resource', 'create', api, '--scope', 'read write', '--name', 'The API')
})

afterAll(() => rmSync(cwd, { recursive: true, force: true }))

describe('help', () => {
  const all = (program: Program): readonly Program[] =>
    program.commands.flatMap((command) => [command, ...all(command)])

  it('ends with 0, and has an example for every command', async () => {
    let text = ''
    const program = buildProgram(async () => {})
    const leaves = all(program).filter((command) => command.commands.length === 0)
    expect(leaves).toHaveLength(commands.length)
    for (const command of leaves) {
      text = ''
      command.configureOutput({ writeOut: (part) => (text += part) })
      expect(() => command.outputHelp()).not.toThrow()
      expect(text, command.name()).toMatch(/Example:\n {2}npx --no mayfly /)
    }
    const help = await mayfly(['client', 'create', '--help'], { cwd: temporaryFolder() })
    expect([help.code, help.stderr]).toEqual([0, ''])
    expect((await mayfly(['--version'], { cwd })).stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
  })

  it.each([
    [['clinet', 'list'], /Did you mean client/],
    [['client', 'lst'], /Did you mean list/],
    [['client', 'list', '--jso'], /Did you mean --json/],
    [['client', 'create'], /missing required argument 'name'/],
    [['resource', 'list', 'extra'], /too many arguments/],
    [[], /Usage: mayfly/],
  ])('shows the way after the wrong use %j, with exit code 2', async (args, sentence) => {
    const ended = await mayfly(args, { cwd })
    expect([ended.code, ended.stdout]).toEqual([2, ''])
    expect(ended.stderr).toMatch(sentence)
  })
})

describe('mayfly resource', () => {
  it('creates, lists, shows, updates and deletes', async () => {
    const created = await ok(
      'resource',
      'create',
      'urn:b',
      '--scope',
      'x y',
      '--alg',
      'RS256',
      '--access-token-ttl',
      '2m',
    )
    expect(created).toEqual({
      resource: 'urn:b',
      name: null,
      scope: 'x y',
      alg: 'RS256',
      access_token_ttl: 120,
      created_at: expect.stringMatching(rfc3339),
      updated_at: expect.stringMatching(rfc3339),
    })
    expect((await ok<Json[]>('resource', 'list')).map(({ resource }) => resource)).toEqual([api, 'urn:b'])
    expect(await ok('resource', 'update', 'urn:b', '--scope', 'z', '--no-alg')).toMatchObject({
      scope: 'z',
      alg: null,
      access_token_ttl: 120,
    })
    expect(await ok('resource', 'show', 'urn:b')).toMatchObject({ scope: 'z' })
    expect(await ok('resource', 'delete', 'urn:b')).toEqual({ resource: 'urn:b', deleted: true })
    expect(await refused(1, 'resource', 'show', 'urn:b')).toMatchObject({ error: 'unknown' })
  })

  it.each([
    [['resource', 'create', 'api'], /absolute URI/],
    [['resource', 'create', 'https://x.test#y'], /absolute URI/],
    [['resource', 'create', 'urn:x', '--scope', 'a "b"'], /is not a scope/],
    [['resource', 'create', 'urn:x', '--alg', 'HS256'], /it takes ES256 or RS256/],
    [['resource', 'create', 'urn:x', '--access-token-ttl', '2h'], /at most MAYFLY_ACCESS_TOKEN_MAX_TTL, which is 1h/],
    [['resource', 'create', 'urn:x', '--name', 'a\u001b[31mb'], /is not a name/],
    [['resource', 'update', api], /nothing to change/],
  ])('refuses %j with exit code 2', async (args, sentence) => {
    expect(await refused(2, ...args)).toEqual({ error: 'usage', message: expect.stringMatching(sentence) })
  })

  it('refuses a second one with exit code 1', async () => {
    expect(await refused(1, 'resource', 'create', api)).toEqual({
      error: 'exists',
      message: expect.stringContaining('mayfly resource update'),
    })
  })
})

describe('mayfly client', () => {
  let billing: Json = {}

  it('creates one with a secret that is shown once, and says on stderr which database it changed', async () => {
    const ended = await mayfly(['client', 'create', 'billing', '--audience', api, '--scope', 'read', '--json'], { cwd })
    expect(ended.stderr).toBe(`Changed ${join(cwd, 'data/mayfly.db')}\n`)
    billing = JSON.parse(ended.stdout) as Json
    expect(billing).toEqual({
      client_id: 'billing',
      client_name: 'billing',
      status: 'active',
      client_id_issued_at: expect.any(Number),
      grant_types: ['client_credentials'],
      token_endpoint_auth_method: 'client_secret_basic',
      also_accepted_auth_methods: [],
      scope: 'read',
      audience: [api],
      introspects: [],
      access_token_ttl: null,
      tokens_per_hour: null,
      dpop_bound_access_tokens: false,
      secret_id: expect.stringMatching(/^sec_[0-9A-Za-z]{16}$/),
      client_secret: expect.stringMatching(/^mfs_[0-9A-Za-z]{65}$/),
      client_secret_expires_at: 0,
    })
    expect(Math.abs(Number(billing.client_id_issued_at) - Date.now() / 1000)).toBeLessThan(60)
    for (const args of [
      ['client', 'show', 'billing'],
      ['client', 'list'],
      ['secret', 'list', 'billing'],
      ['audit', 'list'],
    ]) {
      const shown = await mayfly([...args, '--json'], { cwd })
      expect(shown.stdout).not.toContain(String(billing.client_secret))
      expect(shown.stdout).not.toContain('sha256')
    }
  })

  it('prints for people the curl that uses it', async () => {
    const ended = await mayfly(
      ['client', 'create', 'poster', '--audience', api, '--auth-method', 'client_secret_post'],
      { cwd },
    )
    expect(ended.stdout).toMatch(
      /curl -s -d client_id=poster -d client_secret=mfs_\w+ -d grant_type=client_credentials ISSUER\/token/,
    )
    expect(ended.stdout).toContain('the only time that the secret is shown')
  })

  it('DP-18 binds the tokens of a client to a key with --dpop-bound, and no more with --no-dpop-bound', async () => {
    const bound = await mayfly(['client', 'create', 'bound', '--audience', api, '--dpop-bound'], { cwd })
    expect(bound.stdout).toMatch(
      /curl -s -u bound:mfs_\w+ -H "DPoP: PROOF" -d grant_type=client_credentials ISSUER\/token/,
    )
    expect(bound.stdout).toContain('docs/dpop.md')
    expect(await ok('client', 'show', 'bound')).toMatchObject({ dpop_bound_access_tokens: true })
    expect(await ok('client', 'update', 'bound', '--name', 'B')).toMatchObject({ dpop_bound_access_tokens: true })
    expect(await ok('client', 'update', 'bound', '--no-dpop-bound')).toMatchObject({ dpop_bound_access_tokens: false })
    expect(await ok('client', 'update', 'bound', '--dpop-bound')).toMatchObject({ dpop_bound_access_tokens: true })
    const asks = await mayfly(['client', 'create', 'asks', '--introspects', api, '--dpop-bound'], { cwd })
    expect(asks.stdout).not.toContain('PROOF')
    const [change] = (await ok('audit', 'list', '--client', 'bound', '--type', 'client.updated')) as unknown as Json[]
    expect(JSON.stringify(change)).toContain('dpopBound')
  })

  it('updates by replacing lists, and adds a method with --also-accept', async () => {
    await ok('resource', 'create', 'urn:two', '--scope', 'a')
    expect(
      await ok('client', 'update', 'billing', '--audience', api, '--audience', 'urn:two', '--scope', 'write a'),
    ).toMatchObject({ audience: [api, 'urn:two'], scope: 'write a' })
    expect(await ok('client', 'update', 'billing', '--also-accept', 'client_secret_post')).toMatchObject({
      token_endpoint_auth_method: 'client_secret_basic',
      also_accepted_auth_methods: ['client_secret_post'],
    })
    expect(
      await ok('client', 'update', 'billing', '--audience', api, '--scope', 'read', '--access-token-ttl', '1m'),
    ).toMatchObject({ audience: [api], scope: 'read', access_token_ttl: 60 })
    expect(await ok('client', 'update', 'billing', '--no-access-token-ttl')).toMatchObject({ access_token_ttl: null })
  })

  it('disables and enables', async () => {
    expect(await ok('client', 'disable', 'billing')).toMatchObject({
      status: 'disabled',
      disabled_at: expect.stringMatching(rfc3339),
    })
    expect(await ok('client', 'enable', 'billing')).toMatchObject({ status: 'active', disabled_at: null })
  })

  it('deletes for ever', async () => {
    await ok('client', 'create', 'gone', '--audience', api)
    expect(await ok('client', 'delete', 'gone')).toMatchObject({ client_id: 'gone', deleted: true })
    expect(await refused(1, 'client', 'create', 'gone', '--audience', api)).toMatchObject({
      error: 'exists',
      message: expect.stringContaining('never given again'),
    })
  })

  it.each([
    [1, ['client', 'create', 'billing', '--audience', api], 'exists', /exists already/],
    [1, ['client', 'create', 'x', '--audience', 'urn:none'], 'unknown', /`npx --no mayfly resource create urn:none`/],
    [1, ['client', 'create', 'x', '--audience', api, '--scope', 'admin'], 'invalid', /mayfly resource update/],
    [1, ['client', 'show', 'nobody'], 'unknown', /`npx --no mayfly client list`/],
    [1, ['resource', 'delete', api], 'in_use', /billing/],
    [2, ['client', 'create', 'x'], 'usage', /--audience URI/],
    [2, ['client', 'create', 'two words', '--audience', api], 'usage', /--client-id/],
    [2, ['client', 'create', 'x', '--client-id', 'mfs_x', '--audience', api], 'usage', /is not a client_id/],
    [2, ['client', 'create', 'x', '--audience', api, '--grant-type', 'password'], 'usage', /client_credentials/],
    [2, ['client', 'create', 'x', '--audience', api, '--grant-type', 'refresh_token'], 'usage', /never get a refresh/],
    [2, ['client', 'update', 'billing', '--grant-type', 'refresh_token'], 'usage', /never get a refresh/],
    [
      2,
      ['client', 'create', 'x', '--audience', api, '--auth-method', 'none'],
      'usage',
      /client_secret_basic or client_secret_post/,
    ],
    [2, ['client', 'create', 'x', '--audience', api, '--secret-hash', '$2b$10$x'], 'usage', /argon2id/],
    [
      2,
      [
        'client',
        'create',
        'x',
        '--audience',
        api,
        '--secret-hash',
        `$argon2id$v=19$m=4096,t=3,p=1$${'A'.repeat(22)}$${'A'.repeat(43)}`,
      ],
      'usage',
      /7168 to 65536/,
    ],
  ] as const)('ends with %i for %j', async (code, args, error, sentence) => {
    expect(await refused(code, ...args)).toEqual({ error, message: expect.stringMatching(sentence) })
  })

  it('imports a secret from stdin and a hash, all of one cost', async () => {
    const imported = await mayfly(['client', 'create', 'legacy', '--audience', api, '--secret-stdin', '--json'], {
      cwd,
      input: 'from elsewhere\n',
    })
    expect(imported.code, imported.stderr).toBe(0)
    expect(JSON.parse(imported.stdout)).not.toHaveProperty('client_secret')
    const same = `$argon2id$v=19$m=19456,t=2,p=1$${'A'.repeat(22)}$${'A'.repeat(43)}`
    expect(await ok('client', 'create', 'hashed', '--audience', api, '--secret-hash', same)).toMatchObject({
      client_id: 'hashed',
    })
    const dearer = same.replace('m=19456,t=2', 'm=65536,t=3')
    expect(await refused(1, 'client', 'create', 'dearer', '--audience', api, '--secret-hash', dearer)).toMatchObject({
      error: 'invalid',
      message: expect.stringContaining('--secret-stdin'),
    })
    for (const input of [
      '',
      'short',
      'two\nlines here',
      `mfs_${'0'.repeat(65)}`,
      'x'.repeat(70_000),
      Buffer.from([0xff, 0xfe, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38]),
    ]) {
      const bad: Finished = await mayfly(['client', 'create', 'bad', '--audience', api, '--secret-stdin', '--json'], {
        cwd,
        input,
      })
      expect([bad.code, bad.stdout]).toEqual([2, ''])
    }
  })

  it('keeps overlapping secrets, with an expiry in both spellings', async () => {
    const made = await ok('secret', 'create', 'billing', '--expires-in', '30d')
    expect(made.client_secret).toMatch(/^mfs_/)
    const expiry = Date.parse(String(made.expires_at))
    expect(made.client_secret_expires_at).toBe(Math.floor(expiry / 1000))
    const rows = await ok<Json[]>('secret', 'list', 'billing')
    expect(rows).toHaveLength(2)
    for (const row of rows)
      expect(Object.keys(row).sort()).toEqual(['created_at', 'expires_at', 'kind', 'last_used_at', 'secret_id'])
    expect(await ok('secret', 'revoke', 'billing', String(made.secret_id))).toMatchObject({ revoked: true })
    expect(await refused(1, 'secret', 'revoke', 'billing', String(made.secret_id))).toMatchObject({ error: 'unknown' })
    const pasted = await refused(2, 'secret', 'revoke', 'billing', String(made.client_secret))
    expect(pasted.message).not.toContain(String(made.client_secret).slice(8))
    expect(await refused(2, 'secret', 'create', 'billing', '--expires-in', 'soon')).toMatchObject({ error: 'usage' })
  })
})

describe('what is printed', () => {
  it('can be pasted: words that a shell would read are quoted', async () => {
    const uri = "https://x.example.test/$(id);'a'"
    const made = await mayfly(['resource', 'create', uri], { cwd })
    expect(made.stdout).toContain(`--audience 'https://x.example.test/$(id);'\\''a'\\'''`)
  })

  it('has no control characters and no secret that was typed in the wrong place', async () => {
    const secret = `mfs_${'a'.repeat(65)}`
    for (const args of [
      ['client', 'show', '\u001b[31mEVIL'],
      ['client', '\u001b[31mEVIL'],
      ['client', 'show', secret],
      ['client', `--${secret}`],
    ]) {
      for (const json of [[], ['--json']]) {
        const { stderr } = await mayfly([...args, ...json], { cwd })
        expect(stderr).not.toContain('\u001b')
        expect(stderr).not.toContain(secret)
      }
    }
  })

  it('ends with 1 when nobody could read the secret, and says what to do', async () => {
    const { execFileSync } = await import('node:child_process')
    const script = `"$0" "$1" client create lost --audience ${api} > /dev/full`
    const run = (): unknown =>
      execFileSync('sh', ['-c', script, process.execPath, launcher], { cwd, stdio: 'pipe', env: cleanEnvironment() })
    expect(run).toThrow(/mayfly secret create lost/)
  })
})

describe('mayfly audit list', () => {
  it('filters by client, type and time, newest first', async () => {
    const rows = await ok<Json[]>(
      'audit',
      'list',
      '--client',
      'billing',
      '--type',
      'client.updated',
      '--since',
      '1h',
      '--limit',
      '2',
    )
    expect(rows).toHaveLength(2)
    for (const row of rows)
      expect(row).toMatchObject({
        type: 'client.updated',
        client_id: 'billing',
        at: expect.stringMatching(rfc3339),
        actor: expect.stringMatching(/^cli:/),
      })
    expect(await refused(2, 'audit', 'list', '--type', 'nonsense')).toMatchObject({
      message: expect.stringContaining('client.updated'),
    })
    expect(await refused(2, 'audit', 'list', '--limit', '0')).toMatchObject({ error: 'usage' })
    expect(await refused(2, 'audit', 'list', '--since', 'yesterday')).toMatchObject({ error: 'usage' })
  })
})

describe('mayfly db', () => {
  it('checks, and backs up for its owner alone', async () => {
    expect(await ok('db', 'check')).toMatchObject({ ok: true })
    const file = join(temporaryFolder(), 'backup.db')
    const ended = await mayfly(['db', 'backup', file, '--json'], { cwd })
    expect(ended.stderr).toContain('does not hold the master key')
    expect(JSON.parse(ended.stdout)).toMatchObject({
      backup: file,
      holds_master_key: false,
      bytes: statSync(file).size,
    })
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(readFileSync(file).includes(readFileSync(join(cwd, 'keys/master.key'), 'utf8').trim())).toBe(false)
    const copy = openStore(file, { create: false, examine: true })
    expect((await copy.findClient('billing')).value?.name).toBe('billing')
    await copy.close()
    expect(await refused(1, 'db', 'backup', file)).toMatchObject({
      error: 'database',
      message: expect.stringContaining('exists'),
    })
  })

  it('is needed by every other command, which names the absolute path and makes nothing', async () => {
    const empty = temporaryFolder()
    for (const args of [
      ['client', 'list'],
      ['db', 'check'],
      ['audit', 'list'],
      ['client', 'disable', 'x'],
    ]) {
      const ended = await mayfly(args, { cwd: empty })
      expect([ended.code, ended.stdout]).toEqual([1, ''])
      expect(ended.stderr).toContain(join(empty, 'data/mayfly.db'))
    }
    expect(() => statSync(join(empty, 'data'))).toThrow()
  })

  it('accepts an issuer, and refuses what is none', async () => {
    expect(await ok('db', 'accept-issuer', 'https://tokens.example.test')).toEqual({
      issuer: 'https://tokens.example.test',
    })
    expect(await refused(2, 'db', 'accept-issuer', 'https://tokens.example.test/')).toMatchObject({ error: 'usage' })
  })
})
