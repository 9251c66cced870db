import { existsSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Finished, mayfly, mayflyJson, serve, temporaryFolder } from '../support/process.ts'

const api = 'https://api.example.test'
const eraseScreen = '\u001b[2J'
let cwd = ''

function run(
  args: readonly string[],
  options: { input?: string; env?: Record<string, string> } = {},
): Promise<Finished> {
  return mayfly(args, { cwd, ...options })
}

beforeAll(async () => {
  cwd = mkdtempSync(join(tmpdir(), 'mayfly-cli-edges-'))
  await mayflyJson(['db', 'migrate'], { cwd })
  await mayflyJson(['resource', 'create', api, '--scope', 'read'], { cwd })
  await mayflyJson(['client', 'create', 'billing', '--audience', api], { cwd })
})

afterAll(() => rmSync(cwd, { recursive: true, force: true }))

describe('wrong use of the command line', () => {
  it('ends with 2 and the verbs when a noun stands alone', async () => {
    const ended = await run(['client'])
    expect([ended.code, ended.stdout]).toEqual([2, ''])
    for (const verb of ['create', 'list', 'show', 'update', 'disable', 'enable', 'delete']) {
      expect(ended.stderr).toMatch(new RegExp(`^ {2}${verb} `, 'm'))
    }
  })

  it.each([
    ['an option that there is not', ['client', 'list', '--force']],
    ['a command that there is not', ['frobnicate']],
    ['one argument too many', ['db', 'check', 'extra']],
  ])('is one JSON document on stderr for %s', async (_, args) => {
    const ended = await run([...args, '--json'])
    expect([ended.code, ended.stdout]).toEqual([2, ''])
    expect(JSON.parse(ended.stderr)).toEqual({ error: 'usage', message: expect.any(String) })
  })

  it.each(['serve', 'client'])('ends %s with 2 when a setting is wrong, also as JSON', async (command) => {
    const args = command === 'serve' ? ['serve', '--json'] : ['client', 'list', '--json']
    const ended = await run(args, { env: { MAYFLY_PORT: 'nope' } })
    expect([ended.code, ended.stdout]).toEqual([2, ''])
    expect(JSON.parse(ended.stderr)).toEqual({
      error: 'config',
      message: 'MAYFLY_PORT is "nope": it takes a whole number from 0 to 65535',
    })
  })

  it('ends with 2 when a wrong setting stands in .env of the current folder', async () => {
    const folder = temporaryFolder()
    writeFileSync(join(folder, '.env'), 'MAYFLY_CLOCK_SKEW=1h\n')
    const ended = await mayfly(['client', 'list'], { cwd: folder })
    expect([ended.code, ended.stdout]).toEqual([2, ''])
    expect(ended.stderr).toMatch(/^error: MAYFLY_CLOCK_SKEW is "1h": it takes /)
  })

  it('refuses a secret from two places at once, and registers nothing', async () => {
    const hash = `$argon2id$v=19$m=19456,t=2,p=1$${'A'.repeat(22)}$${'A'.repeat(43)}`
    const ended = await run(['client', 'create', 'both', '--audience', api, '--secret-stdin', '--secret-hash', hash], {
      input: 'from elsewhere\n',
    })
    expect([ended.code, ended.stdout]).toEqual([2, ''])
    await expect(mayflyJson(['client', 'show', 'both'], { cwd })).rejects.toThrow('there is no client')
  })

  it('refuses a hash that could never be checked', async () => {
    const hash = `$argon2id$v=19$m=19456,t=2,p=1$${'A'.repeat(21)}B$${'A'.repeat(43)}`
    const ended = await run(['client', 'create', 'broken', '--audience', api, '--secret-hash', hash])
    expect([ended.code, ended.stdout]).toEqual([2, ''])
    expect(ended.stderr).toContain('argon2id')
  })
})

describe('control characters', () => {
  it.each([
    ['a name', 2, ['client', 'create', `a${eraseScreen}b`, '--client-id', 'x', '--audience', api]],
    ['an id', 1, ['client', 'disable', `a${eraseScreen}b`]],
    ['a URI', 2, ['resource', 'show', `https://a/${eraseScreen}`]],
    ['a command', 2, [`cl${eraseScreen}`]],
  ])('C07 do not reach the terminal from %s', async (_, code, args) => {
    const ended = await run(args)
    expect([ended.code, ended.stdout]).toEqual([code, ''])
    expect(ended.stderr).not.toContain('\u001b')
  })

  it('C07 do not reach the terminal from the claims of a token', async () => {
    const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
    const token = `${part({ alg: 'ES256' })}.${part({ sub: `${eraseScreen}\u202e\r\nactive true` })}.AAAA`
    const ended = await run(['token', 'inspect', token])
    expect(ended.code).toBe(0)
    for (const each of ['\u001b', '\u202e', '\r']) expect(ended.stdout).not.toContain(each)
    expect(ended.stdout).toMatch(/^active +false$/m)
    expect(ended.stdout.match(/^active/gm)).toHaveLength(1)
  })
})

describe('a secret on the command line', () => {
  it('CA-13 is told once in the document, and not by what went wrong with it', async () => {
    const ended = await run(['secret', 'create', 'billing', '--json'])
    const { client_secret: secret } = JSON.parse(ended.stdout) as { client_secret: string }
    expect(ended.stdout.split(secret)).toHaveLength(2)
    expect(ended.stderr).not.toContain(secret)
    const pasted = await run(['client', 'show', secret])
    expect(pasted.code).toBe(1)
    expect(pasted.stderr).not.toContain(secret)
  })

  it('is not told when it is the password of a URL in the wrong place, however long', async () => {
    for (const length of [8, 60, 100]) {
      const password = 'w0rd'.repeat(length / 4)
      const { code, stderr } = await run(['client', 'show', `postgres://mayfly:${password}@db.example.test/mayfly`])
      expect([code, stderr]).toEqual([1, expect.stringContaining('postgres://mayfly:***@db.example.test/mayfly')])
      expect(stderr).not.toContain('w0rd')
    }
  })
})

describe('the database of a command', () => {
  it('is made once: a second migration makes nothing', async () => {
    await expect(mayflyJson(['db', 'migrate'], { cwd })).resolves.toMatchObject({
      made_keys: false,
      made_master_key: false,
    })
  })

  it('is refused without its master key, and none is made in its place', async () => {
    const key = join(cwd, 'keys/master.key')
    renameSync(key, `${key}.away`)
    const ended = await run(['db', 'migrate', '--json'])
    expect(existsSync(key)).toBe(false)
    renameSync(`${key}.away`, key)
    expect(ended.code).toBe(1)
    expect(JSON.parse(ended.stderr)).toMatchObject({ error: 'key_material', message: expect.stringContaining(key) })
  })

  it('is not backed up to a folder that is not there, and leaves nothing behind', async () => {
    const folder = temporaryFolder()
    const ended = await run(['db', 'backup', join(folder, 'none/backup.db'), '--json'])
    expect([ended.code, ended.stdout]).toEqual([1, ''])
    expect(JSON.parse(ended.stderr)).toMatchObject({ error: 'database' })
    expect(readdirSync(folder)).toEqual([])
  })
})

describe('mayfly serve', () => {
  it('says how to begin until a resource is registered, also when another start made the keys', async () => {
    const folder = temporaryFolder()
    await mayflyJson(['db', 'migrate'], { cwd: folder })
    const first = await serve({ cwd: folder })
    await first.end('SIGTERM')
    expect(first.output()).toContain('No resource is registered yet. In use:\n')
    expect(first.output()).toContain('  npx --no mayfly resource create https://api.example.com --scope ')
    await mayflyJson(['resource', 'create', 'https://api.example.com'], { cwd: folder })
    const second = await serve({ cwd: folder })
    await second.end('SIGTERM')
    expect(second.output()).not.toContain('resource create')
  })
})

describe('help', () => {
  it('says which options repeat, and gives no default to a change', async () => {
    const helpOf = async (verb: string) => {
      const { stdout } = await mayfly(['client', verb, '--help'], { cwd: temporaryFolder() })
      return stdout.replaceAll(/\s+/g, ' ')
    }
    const [create, update] = [await helpOf('create'), await helpOf('update')]
    for (const help of [create, update]) expect(help).toContain('a resource that it may have tokens for; repeats')
    expect(create).toContain('(default: client_secret_basic, or private_key_jwt with keys)')
    expect(update).not.toContain('default:')
  })
})
