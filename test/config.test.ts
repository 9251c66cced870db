import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ConfigError, parseSettings, readEnvironment, settingDescriptions, unknownVariables } from '../src/config.ts'
import { temporaryFolder } from './support/process.ts'

const folder = '/srv/mayfly'
const parse = (env: Record<string, string>) => parseSettings(env, folder)

function sentenceOf(env: Record<string, string>): string {
  try {
    parse(env)
    return 'parsed'
  } catch (error) {
    if (error instanceof ConfigError) return error.message
    throw error
  }
}

describe('settings', () => {
  it('have defaults, and absolute paths', () => {
    expect(parse({})).toEqual({
      issuer: undefined,
      host: '127.0.0.1',
      port: 8080,
      databasePath: '/srv/mayfly/data/mayfly.db',
      masterKeyFile: '/srv/mayfly/keys/master.key',
      signingAlg: 'ES256',
      accessTokenTtlSeconds: 300,
      accessTokenMaxTtlSeconds: 3600,
      jwksMaxAgeSeconds: 300,
      clockSkewSeconds: 60,
      auditIssuanceRetentionSeconds: 604_800,
      auditRetentionSeconds: 7_776_000,
      trustedProxies: [],
      metricsListen: undefined,
      logLevel: 'info',
      allowInsecureIssuer: false,
      allowInsecureHttp: false,
    })
  })

  it('take an empty variable as absent', () => {
    const empty = Object.fromEntries(settingDescriptions.map(({ variable }) => [variable, '']))
    expect(parse(empty)).toEqual(parse({}))
  })

  it.each([
    [{ MAYFLY_DATABASE_URL: 'file:/var/lib/x.db' }, { databasePath: '/var/lib/x.db' }],
    [{ MAYFLY_DATABASE_URL: 'file:///var/lib/x.db' }, { databasePath: '/var/lib/x.db' }],
    [{ MAYFLY_DATABASE_URL: 'file:x.db' }, { databasePath: '/srv/mayfly/x.db' }],
    [{ MAYFLY_PORT: '0' }, { port: 0 }],
    [{ MAYFLY_METRICS_LISTEN: '[::1]:9000' }, { metricsListen: { host: '::1', port: 9000 } }],
    [{ MAYFLY_TRUSTED_PROXIES: '10.0.0.0/8, ::1' }, { trustedProxies: ['10.0.0.0/8', '::1'] }],
    [
      { MAYFLY_ACCESS_TOKEN_TTL: '90s', MAYFLY_ACCESS_TOKEN_MAX_TTL: '2h' },
      { accessTokenTtlSeconds: 90, accessTokenMaxTtlSeconds: 7200 },
    ],
    [{ MAYFLY_ISSUER: 'https://tokens.example.com/t1' }, { issuer: 'https://tokens.example.com/t1' }],
    [{ MAYFLY_ISSUER: 'http://localhost:8080' }, { issuer: 'http://localhost:8080' }],
    [{ MAYFLY_ISSUER: 'http://[::1]:8080' }, { issuer: 'http://[::1]:8080' }],
    [{ MAYFLY_ISSUER: 'http://tokens.test', MAYFLY_ALLOW_INSECURE_ISSUER: 'true' }, { issuer: 'http://tokens.test' }],
    [
      { MAYFLY_HOST: '0.0.0.0', MAYFLY_ISSUER: 'https://t.test', MAYFLY_TRUSTED_PROXIES: '10.0.0.1' },
      { host: '0.0.0.0' },
    ],
    [{ MAYFLY_HOST: '::', MAYFLY_ISSUER: 'https://t.test', MAYFLY_ALLOW_INSECURE_HTTP: 'true' }, { host: '::' }],
  ])('take %j', (env, settings) => expect(parse(env)).toMatchObject(settings))

  const bad: [string, readonly string[]][] = [
    ['MAYFLY_PORT', ['-1', '65536', '8080x', '0x50', '1e3', ' 80', '80.0']],
    ['MAYFLY_HOST', ['a b', 'http://x', '-x', 'x/y']],
    [
      'MAYFLY_ISSUER',
      [
        'tokens.test',
        'https://t.test/',
        'https://t.test/a/',
        'https://T.test',
        'https://t.test:443',
        'https://t.test?x',
        'https://t.test#x',
        'https://t.test//a',
        'https://t.test/a/../b',
        'https://t.test/:id',
        'https://t.test/*',
        'ftp://t.test',
        'https://',
      ],
    ],
    ['MAYFLY_DATABASE_URL', ['data/mayfly.db', 'file:', 'mysql://x', 'file://host/x']],
    ['MAYFLY_SIGNING_ALG', ['HS256', 'none', 'es256', 'EdDSA']],
    ['MAYFLY_ACCESS_TOKEN_TTL', ['5', '5 m', '0s', '-5m', '1.5h', '2d', 'five', '300ms']],
    ['MAYFLY_ACCESS_TOKEN_MAX_TTL', ['25h', '1w']],
    ['MAYFLY_JWKS_MAX_AGE', ['0s', '2d']],
    ['MAYFLY_CLOCK_SKEW', ['1h', '0s']],
    ['MAYFLY_AUDIT_RETENTION', ['forever', '4000d']],
    ['MAYFLY_TRUSTED_PROXIES', ['10.0.0.0/33', 'proxy.local', '10.0.0.1/8/8', '::1/129', '*']],
    ['MAYFLY_METRICS_LISTEN', ['9000', ':9000', 'localhost', 'a:b', 'x:99999']],
    ['MAYFLY_LOG_LEVEL', ['INFO', 'trace', 'verbose']],
    ['MAYFLY_ALLOW_INSECURE_HTTP', ['yes', '1', 'TRUE']],
  ]

  it.each(bad.flatMap(([variable, values]) => values.map((value) => [variable, value])))(
    'refuse %s=%s in a sentence that names it, what it got and what it takes',
    (variable = '', value = '') => {
      const sentence = sentenceOf({ [variable]: value })
      expect(
        sentence.startsWith(`${variable} is ${JSON.stringify(value)}: it takes `) || /PostgreSQL/.test(sentence),
        sentence,
      ).toBe(true)
    },
  )

  it.each([
    [{ MAYFLY_HOST: '0.0.0.0' }, /MAYFLY_HOST.*takes a MAYFLY_ISSUER/],
    [{ MAYFLY_HOST: '0.0.0.0', MAYFLY_ISSUER: 'https://t.test' }, /MAYFLY_HOST.*takes MAYFLY_TRUSTED_PROXIES/],
    [{ MAYFLY_ISSUER: 'http://t.test' }, /MAYFLY_ISSUER.*takes https/],
    [{ MAYFLY_ISSUER: 'http://127.0.0.1.evil.test' }, /MAYFLY_ISSUER.*takes https/],
    [{ MAYFLY_ACCESS_TOKEN_TTL: '2h' }, /MAYFLY_ACCESS_TOKEN_TTL is 2h.*MAYFLY_ACCESS_TOKEN_MAX_TTL, which is 1h/],
    [{ MAYFLY_AUDIT_ISSUANCE_RETENTION: '1h' }, /= 1h \+ 1m = 61m/],
    [{ MAYFLY_DATABASE_URL: 'file:a', MAYFLY_DATABASE_URL_FILE: 'b' }, /both set/],
    [{ MAYFLY_DATABASE_URL_FILE: '/no/such/file' }, /MAYFLY_DATABASE_URL_FILE is "\/no\/such\/file"/],
  ])('refuse the combination %j', (env, sentence) =>
    expect(sentenceOf(env as Record<string, string>)).toMatch(sentence),
  )

  it('never repeat the password of a URL', () => {
    for (const url of ['postgres://u:hunter2@db/x', 'mysql://u:hunter2@db/x', 'file://u:hunter2@db/x']) {
      expect(sentenceOf({ MAYFLY_DATABASE_URL: url })).not.toContain('hunter2')
    }
    expect(sentenceOf({ MAYFLY_ISSUER: 'https://u:hunter2@t.test' })).not.toContain('hunter2')
  })

  it('are read from a file that holds the URL', () => {
    const place = temporaryFolder()
    writeFileSync(join(place, 'url'), 'file:/var/x.db\n')
    expect(parseSettings({ MAYFLY_DATABASE_URL_FILE: 'url' }, place).databasePath).toBe('/var/x.db')
  })

  it('are read from .env, and the environment wins', () => {
    const place = temporaryFolder()
    expect(readEnvironment({ A: '1' }, place)).toEqual({ A: '1' })
    writeFileSync(join(place, '.env'), '# comment\nMAYFLY_PORT=1\nMAYFLY_LOG_LEVEL="warn"\n')
    const environment = readEnvironment({ MAYFLY_PORT: '2' }, place)
    expect(parseSettings(environment, place)).toMatchObject({ port: 2, logLevel: 'warn' })
  })

  it('tell which variables are not theirs', () => {
    expect(unknownVariables({ MAYFLY_PROT: '1', MAYFLY_PORT: '1', MAYFLY_DATABASE_URL_FILE: 'x', PATH: '/' })).toEqual([
      'MAYFLY_PROT',
    ])
  })

  it('parse or refuse whatever stands in any variable (seed 20260205)', () => {
    const variable = fc.constantFrom(...settingDescriptions.map((setting) => setting.variable))
    const value = fc.oneof(
      fc.string(),
      fc.webUrl(),
      fc.constantFrom('file:', '0s', 'true', '::', '1.1.1.1/0', '\0', '\n'),
    )
    fc.assert(
      fc.property(fc.dictionary(variable, value, { maxKeys: 4 }), (env) => {
        expect(typeof sentenceOf(env)).toBe('string')
      }),
      { seed: 20_260_205, numRuns: 3_000 },
    )
  })
})
