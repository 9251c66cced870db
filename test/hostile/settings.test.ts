import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { BlockList, isIP } from 'node:net'
import { tmpdir } from 'node:os'
import { isAbsolute, join } from 'node:path'
import { inspect } from 'node:util'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ConfigError, type Environment } from '../../src/config/setting.ts'
import { parseSettings, readEnvironment, type Settings, settingDescriptions } from '../../src/config/settings.ts'
import { canary, patience, runs, seed, watchForCrashes } from '../support/hostile.ts'

const variables = [...settingDescriptions.map(({ variable }) => variable), 'MAYFLY_DATABASE_URL_FILE']
let folder = ''

watchForCrashes()
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'mayfly-settings-'))
  writeFileSync(join(folder, 'url'), 'file:x.db\n')
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const word = fc.constantFrom(
  ...[
    'true',
    'false',
    'ES256',
    'RS256',
    'none',
    'debug',
    'silent',
    '0',
    '65535',
    '65536',
    '-1',
    '1e3',
    'url',
    '.',
    '/',
  ],
  ...['localhost', '0.0.0.0', '::1', '[::1]:9', 'a:1', '10.0.0.0/8', '10.0.0.0/33', '::/0', '1.1.1.1,,', '\u0661'],
  ...['file:a', 'file:///a', 'file://a', 'FILE:a', 'postgres://x', '__proto__', 'constructor', '\u001b[2J', '\u009b2J'],
)

const piece = fc.oneof(
  word,
  fc.stringMatching(/^[0-9]{1,10}[smhdwy]?$/),
  fc.ipV4(),
  fc.ipV6(),
  fc.webUrl(),
  fc.string({ unit: 'binary', maxLength: 12 }),
)

const value = fc.oneof(
  { weight: 6, arbitrary: piece },
  { weight: 3, arbitrary: fc.array(piece, { maxLength: 3 }).map((pieces) => pieces.join('')) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 200_000 }).map((length) => 'x'.repeat(length)) },
)

/** What a setting may be at all, by what the reference says that it takes. */
function expectUsable(settings: Settings): void {
  const { port, metricsListen, trustedProxies, issuer } = settings
  const seconds = { ...settings } as Record<string, unknown>
  for (const [name, most] of Object.entries(longest)) {
    expect(Number.isInteger(seconds[name]) && Number(seconds[name]) >= 1 && Number(seconds[name]) <= most).toBe(true)
  }
  for (const each of [port, metricsListen?.port ?? 0])
    expect(Number.isInteger(each) && each >= 0 && each <= 65_535).toBe(true)
  const database = settings.postgresUrl === undefined ? [settings.databasePath] : []
  for (const path of [...database, settings.masterKeyFile])
    expect([isAbsolute(path), path.includes('\0')]).toEqual([true, false])
  for (const host of [settings.host, metricsListen?.host ?? 'x']) expect(isIP(host) > 0 || isName(host)).toBe(true)
  expect(['ES256', 'RS256']).toContain(settings.signingAlg)
  expect(['debug', 'info', 'warn', 'error', 'silent']).toContain(settings.logLevel)
  expect(() => trustedProxies.forEach(addToList)).not.toThrow()
  if (issuer !== undefined) expect(new URL(issuer).href.replace(/\/$/, '')).toBe(issuer)
  expect(settings.accessTokenTtlSeconds).toBeLessThanOrEqual(settings.accessTokenMaxTtlSeconds)
}

const day = 86_400
const longest = {
  accessTokenTtlSeconds: day,
  accessTokenMaxTtlSeconds: day,
  jwksMaxAgeSeconds: day,
  clockSkewSeconds: 600,
  auditIssuanceRetentionSeconds: 3650 * day,
  auditRetentionSeconds: 3650 * day,
}

function isName(host: string): boolean {
  return URL.canParse(`http://${host}`) && /^[A-Za-z0-9.-]+$/.test(host)
}

function addToList(range: string): void {
  const [address = '', prefix = ''] = range.split('/')
  const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
  new BlockList().addSubnet(address, Number(prefix || (family === 'ipv6' ? 128 : 32)), family)
}

/** Parses, or returns the sentence of the refusal; whatever else is thrown is a bug. */
function parse(environment: Environment): Settings | string {
  try {
    return parseSettings(environment, folder)
  } catch (error) {
    if (error instanceof ConfigError) return error.message
    throw error
  }
}

function expectSentence(sentence: string): void {
  expect(sentence).toMatch(/\bMAYFLY_[A-Z_]+\b/)
  expect(sentence).not.toMatch(/\p{Cc}/u)
  expect(sentence.length).toBeLessThan(800)
}

describe('hostile settings', () => {
  it(`are usable, or refused in one sentence that names the variable (FC_SEED=${seed})`, patience, () => {
    const seen = { usable: 0, refused: 0 }
    const property = fc.property(fc.dictionary(fc.constantFrom(...variables), value, { maxKeys: 5 }), (environment) => {
      const parsed = parse(environment)
      if (typeof parsed === 'string') expectSentence(parsed)
      else expectUsable(parsed)
      seen[typeof parsed === 'string' ? 'refused' : 'usable'] += 1
    })
    fc.assert(property, runs(3_000))
    expect(Math.min(seen.usable, seen.refused)).toBeGreaterThan(100)
  })

  it(`are refused for what is wrong with the one that is wrong (FC_SEED=${seed})`, patience, () => {
    const property = fc.property(fc.constantFrom(...variables), value, (variable, value) => {
      const parsed = parse({ [variable]: value })
      if (typeof parsed === 'string') expect(parsed).toContain(variable.replace(/_FILE$/, ''))
    })
    fc.assert(property, runs(2_000))
  })

  it(`never tell the password of a URL again, whichever variable it stands in (FC_SEED=${seed})`, patience, () => {
    const scheme = fc.constantFrom('postgres://', 'postgresql:', 'mysql://', 'https://', 'file://', 'file:', '', ' x:')
    const user = fc.stringMatching(/^[a-z@:/ ]{0,6}$/)
    const property = fc.property(fc.constantFrom(...variables), scheme, user, (variable, scheme, user) => {
      const parsed = parse({ [variable]: `${scheme}${user}:${canary}@db.test/x` })
      if (typeof parsed === 'string') expect(parsed).not.toContain(canary)
      else if (parsed.postgresUrl !== undefined) expect(JSON.stringify(parsed) + inspect(parsed)).not.toContain(canary)
    })
    fc.assert(property, runs(1_000))
  })

  it('never tell the password of a URL that was set as the file which holds it', () => {
    const sentence = parse({ MAYFLY_DATABASE_URL_FILE: `postgres://mayfly:${canary}@db.test/mayfly` })
    expect(sentence).toBe(
      `MAYFLY_DATABASE_URL_FILE is "${folder}/postgres:***@db.test/mayfly": it takes the path of a file that can be read`,
    )
  })

  it('never move a cursor by a control that JSON leaves as it is', () => {
    expect(parse({ MAYFLY_LOG_LEVEL: '\u009b2J\u202e' })).toMatch(/^MAYFLY_LOG_LEVEL is "\\u009b2J\\u202e": /)
  })
})

describe('a hostile .env', () => {
  const line = fc.oneof(
    fc.tuple(fc.constantFrom(...variables), value).map(([name, value]) => `${name}=${value}`),
    fc.tuple(fc.constantFrom(...variables), piece).map(([name, value]) => `export ${name} = "${value}`),
    fc.constantFrom('# comment', '=', '=x', 'A', "B='", 'C="\\n', '__proto__=x', 'constructor=y', '\0', '\ufeff', '\r'),
    fc.string({ unit: 'binary', maxLength: 40 }),
  )
  const content = fc.oneof(
    { weight: 3, arbitrary: fc.array(line, { maxLength: 8 }).map((lines) => Buffer.from(lines.join('\n'))) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)) },
  )

  it(`is read or refused like the environment, which wins (FC_SEED=${seed})`, patience, () => {
    const place = join(folder, 'env')
    mkdirSync(place)
    const property = fc.property(content, (bytes) => {
      writeFileSync(join(place, '.env'), bytes)
      const environment = readEnvironment({ MAYFLY_PORT: '4711', PATH: '/bin' }, place)
      expect(environment).toMatchObject({ MAYFLY_PORT: '4711', PATH: '/bin' })
      for (const value of Object.values(environment)) expect(typeof value).toBe('string')
      expect(({} as Record<string, unknown>).x).toBeUndefined()
      const parsed = parse(environment)
      if (typeof parsed === 'string') expectSentence(parsed)
      else expectUsable(parsed)
    })
    fc.assert(property, runs(500))
  })

  it('is refused in one sentence when it is a folder', () => {
    const place = join(folder, 'folder')
    mkdirSync(join(place, '.env'), { recursive: true })
    expect(() => readEnvironment({}, place)).toThrow(ConfigError)
    expect(() => readEnvironment({}, place)).toThrow(/\.env cannot be read: /)
  })
})
