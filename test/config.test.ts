import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inspect } from 'node:util'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isIssuer, isLoopback, toBlockList } from '../src/config/hosts.ts'
import { ConfigError, type Environment } from '../src/config/setting.ts'
import { parseSettings, readEnvironment, settingDescriptions, unknownVariables } from '../src/config/settings.ts'
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
      witnessFile: '/srv/mayfly/keys/master.key.witness',
      signingAlg: 'ES256',
      accessTokenTtlSeconds: 300,
      accessTokenMaxTtlSeconds: 3600,
      refreshTokenIdleTtlSeconds: 3600,
      refreshTokenMaxTtlSeconds: 86_400,
      refreshRetryWindowSeconds: 60,
      jwksMaxAgeSeconds: 300,
      clockSkewSeconds: 60,
      keyLeadSeconds: 86_400,
      keyRotationIntervalSeconds: 30 * 86_400,
      auditIssuanceRetentionSeconds: 604_800,
      auditRetentionSeconds: 7_776_000,
      trustedProxies: [],
      assertionAudience: 'issuer',
      rateLimitMode: 'enforce',
      rateLimitFailures: 100,
      rateLimitPerClient: undefined,
      rateLimitIntrospection: undefined,
      dpopNonceRequired: false,
      metricsListen: undefined,
      workers: 1,
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
    [{ MAYFLY_WORKERS: '64' }, { workers: 64 }],
    [{ MAYFLY_METRICS_LISTEN: '[::1]:9000' }, { metricsListen: { host: '::1', port: 9000 } }],
    [{ MAYFLY_ASSERTION_AUDIENCE: 'issuer-or-token-endpoint' }, { assertionAudience: 'issuer-or-token-endpoint' }],
    [{ MAYFLY_TRUSTED_PROXIES: '10.0.0.0/8, ::1' }, { trustedProxies: ['10.0.0.0/8', '::1'] }],
    [
      { MAYFLY_RATE_LIMIT_MODE: 'log', MAYFLY_RATE_LIMIT_FAILURES: '1000000' },
      { rateLimitMode: 'log', rateLimitFailures: 1_000_000 },
    ],
    [
      { MAYFLY_RATE_LIMIT_PER_CLIENT: '600', MAYFLY_RATE_LIMIT_INTROSPECTION: '60000' },
      { rateLimitPerClient: 600, rateLimitIntrospection: 60_000 },
    ],
    [
      { MAYFLY_ACCESS_TOKEN_TTL: '90s', MAYFLY_ACCESS_TOKEN_MAX_TTL: '2h' },
      { accessTokenTtlSeconds: 90, accessTokenMaxTtlSeconds: 7200 },
    ],
    [
      { MAYFLY_REFRESH_TOKEN_IDLE_TTL: '2h', MAYFLY_REFRESH_TOKEN_MAX_TTL: '7d', MAYFLY_REFRESH_RETRY_WINDOW: '5s' },
      { refreshTokenIdleTtlSeconds: 7200, refreshTokenMaxTtlSeconds: 604_800, refreshRetryWindowSeconds: 5 },
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
    [
      { MAYFLY_HOST: '::', MAYFLY_ISSUER: 'https://t.test', MAYFLY_TLS_CERT_FILE: 'a', MAYFLY_TLS_KEY_FILE: '/b' },
      { host: '::', tlsCertFile: '/srv/mayfly/a', tlsKeyFile: '/b', tlsClientCaFile: undefined },
    ],
    [
      { MAYFLY_TRUSTED_PROXIES: '::1', MAYFLY_TLS_CLIENT_CA_FILE: 'ca', MAYFLY_MTLS_URL: 'https://m.test' },
      { tlsClientCaFile: '/srv/mayfly/ca', mtlsUrl: 'https://m.test' },
    ],
    [
      { MAYFLY_ISSUER: 'https://t.test/a', MAYFLY_TRUSTED_PROXIES: '::1', MAYFLY_MTLS_URL: 'https://m.test:8443/a' },
      { mtlsUrl: 'https://m.test:8443/a' },
    ],
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
    ['MAYFLY_REFRESH_TOKEN_IDLE_TTL', ['0s', 'never', '400d']],
    ['MAYFLY_REFRESH_TOKEN_MAX_TTL', ['1', '400d']],
    ['MAYFLY_REFRESH_RETRY_WINDOW', ['0s', '2h', '61']],
    ['MAYFLY_JWKS_MAX_AGE', ['0s', '2d']],
    ['MAYFLY_CLOCK_SKEW', ['1h', '0s']],
    ['MAYFLY_AUDIT_RETENTION', ['forever', '4000d']],
    ['MAYFLY_ASSERTION_AUDIENCE', ['token-endpoint', 'Issuer', 'https://t.test']],
    ['MAYFLY_MTLS_URL', ['m.test', 'http://m.test', 'https://m.test/', 'https://m.test?x']],
    ['MAYFLY_TRUSTED_PROXIES', ['10.0.0.0/33', 'proxy.local', '10.0.0.1/8/8', '::1/129', '*']],
    ['MAYFLY_RATE_LIMIT_MODE', ['on', 'ENFORCE', 'log-only']],
    ['MAYFLY_RATE_LIMIT_FAILURES', ['0', '-1', '1e3', '1000001', '10/s', 'none']],
    ['MAYFLY_RATE_LIMIT_PER_CLIENT', ['0', '1.5', '99999999']],
    ['MAYFLY_RATE_LIMIT_INTROSPECTION', ['0', '600/m']],
    ['MAYFLY_METRICS_LISTEN', ['9000', ':9000', 'localhost', 'a:b', 'x:99999']],
    ['MAYFLY_WORKERS', ['0', '65', '-1', '2.5', '1e1', 'auto', '02', ' 2']],
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
    [{ MAYFLY_TLS_CERT_FILE: 'a' }, /MAYFLY_TLS_CERT_FILE is set without MAYFLY_TLS_KEY_FILE/],
    [{ MAYFLY_TLS_KEY_FILE: 'a' }, /MAYFLY_TLS_KEY_FILE is set without MAYFLY_TLS_CERT_FILE/],
    [{ MAYFLY_TLS_CLIENT_CA_FILE: 'a' }, /MAYFLY_TLS_CLIENT_CA_FILE is set, and no.*takes MAYFLY_TLS_CERT_FILE/],
    [{ MAYFLY_MTLS_URL: 'https://m.test' }, /MAYFLY_MTLS_URL.*and no.*takes MAYFLY_TLS_CLIENT_CA_FILE/],
    [
      { MAYFLY_MTLS_URL: 'https://m.test', MAYFLY_ISSUER: 'https://t.test/a', MAYFLY_TRUSTED_PROXIES: '::1' },
      /MAYFLY_MTLS_URL.*path of MAYFLY_ISSUER, which is \/a/,
    ],
    [
      { MAYFLY_MTLS_URL: 'https://m.test/a', MAYFLY_ISSUER: 'https://t.test', MAYFLY_TRUSTED_PROXIES: '::1' },
      /MAYFLY_MTLS_URL.*path of MAYFLY_ISSUER, which is \//,
    ],
    [{ MAYFLY_ISSUER: 'http://127.0.0.1.evil.test' }, /MAYFLY_ISSUER.*takes https/],
    [{ MAYFLY_ACCESS_TOKEN_TTL: '2h' }, /MAYFLY_ACCESS_TOKEN_TTL is 2h.*MAYFLY_ACCESS_TOKEN_MAX_TTL, which is 1h/],
    [{ MAYFLY_AUDIT_ISSUANCE_RETENTION: '1h' }, /= 1h \+ 1m = 61m/],
    [{ MAYFLY_DATABASE_URL: 'file:a', MAYFLY_DATABASE_URL_FILE: 'b' }, /both set/],
    [{ MAYFLY_DATABASE_URL_FILE: '/no/such/file' }, /MAYFLY_DATABASE_URL_FILE is "\/no\/such\/file"/],
  ])('refuse the combination %j', (env, sentence) =>
    expect(sentenceOf(env as Record<string, string>)).toMatch(sentence),
  )

  it('never repeat the password of a URL', () => {
    for (const url of ['postgres://u:hunter2@db', 'mysql://u:hunter2@db/x', 'file://u:hunter2@db/x']) {
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

const issuer = 'https://tokens.example.com'

/** The sentence that a start ends with; fails when it goes on. */
function refusalOf(env: Environment, where = folder): string {
  try {
    parseSettings(env, where)
  } catch (error) {
    if (error instanceof ConfigError) return error.message
    throw error
  }
  throw new Error('it was accepted')
}

describe('a listener of its own for metrics', () => {
  it.each(['[::::]:9090', '[1.2.3.4]:9090', '..:9090', '-:9090'])(
    'is refused as %j, where nothing can listen',
    (value) => {
      expect(refusalOf({ MAYFLY_METRICS_LISTEN: value })).toMatch(/^MAYFLY_METRICS_LISTEN /)
    },
  )
})

describe('any wrong value', () => {
  it('is told on one short line', () => {
    const sentence = refusalOf({ MAYFLY_LOG_LEVEL: `\u001b[2J\n${'x'.repeat(100_000)}` })
    expect(sentence.length).toBeLessThan(300)
    expect(sentence).not.toMatch(/\p{Cc}/u)
  })

  it('ends in a ConfigError, and any right one can be used (seed 20260102)', () => {
    const variables = [...settingDescriptions.map(({ variable }) => variable), 'MAYFLY_DATABASE_URL_FILE']
    const value = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 20 }),
      fc.ipV4(),
      fc.ipV6(),
      fc.tuple(fc.oneof(fc.ipV4(), fc.ipV6()), fc.nat(200)).map(([address, prefix]) => `${address}/${prefix}`),
      fc.stringMatching(/^[0-9]{1,6}[smhd]?$/),
      fc.stringMatching(/^(?:file|postgres):[/a-z.%?#]{0,12}$/),
      fc.stringMatching(/^https?:\/\/[a-z0-9.:[\]%@-]{1,12}(?:\/[a-z.~/]{0,6})?$/),
      fc.constantFrom('true', 'ES256', 'debug', '0.0.0.0', 'fe80::1%eth0', '::ffff:10.0.0.0/104', '__proto__'),
    )
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...variables), value, { maxKeys: 4 }), (env) => {
        try {
          const parsed = parse(env)
          expect(() => toBlockList(parsed.trustedProxies)).not.toThrow()
          expect(parsed.issuer === undefined || isIssuer(parsed.issuer)).toBe(true)
        } catch (error) {
          expect(error).toBeInstanceOf(ConfigError)
          expect(String(error)).toMatch(/MAYFLY_[A-Z_]+/)
        }
      }),
      { seed: 20_260_102, numRuns: 2_000 },
    )
  })
})

describe('an issuer', () => {
  it.each([
    issuer,
    'https://tokens.example.com:8443',
    'https://tokens.example.com/eu/v1',
    'https://tokens.example.com/~a/b_c/d-e.f',
    'https://xn--mnchen-3ya.example',
    'https://192.0.2.1',
    'https://[2001:db8::1]',
  ])('is %s', (value) => {
    expect(isIssuer(value)).toBe(true)
  })

  it.each([
    ['a trailing slash', 'https://tokens.example.com/'],
    ['a trailing slash behind a path', 'https://tokens.example.com/eu/'],
    ['two slashes', 'https://tokens.example.com//eu'],
    ['a host in upper case', 'https://Tokens.example.com'],
    ['a scheme in upper case', 'HTTPS://tokens.example.com'],
    ['the port that goes without saying', 'https://tokens.example.com:443'],
    ['the port that goes without saying for http', 'http://127.0.0.1:80'],
    ['a port with a leading zero', 'https://tokens.example.com:08443'],
    ['a colon without a port', 'https://tokens.example.com:'],
    ['userinfo', 'https://user@tokens.example.com'],
    ['a password', 'https://user:password@tokens.example.com'],
    ['a query', 'https://tokens.example.com?x=1'],
    ['an empty query', 'https://tokens.example.com?'],
    ['a fragment', 'https://tokens.example.com#x'],
    ['an empty fragment', 'https://tokens.example.com#'],
    ['dots that go up', 'https://tokens.example.com/a/../b'],
    ['a dot that stays', 'https://tokens.example.com/./b'],
    ['an escape', 'https://tokens.example.com/%65u'],
    ['an escape in the host', 'https://tokens%2eexample.com'],
    ['a letter that is not ASCII', 'https://münchen.example'],
    ['an IPv4 address in short', 'https://127.1'],
    ['an IPv6 address in long', 'https://[2001:db8:0:0:0:0:0:1]'],
    ['a space', 'https://tokens.example.com/a b'],
    ['a space behind', 'https://tokens.example.com '],
    ['a line break behind', 'https://tokens.example.com\n'],
    ['a backslash', 'https://tokens.example.com\\eu'],
    ['no host', 'https://'],
    ['no slashes', 'https:tokens.example.com'],
    ['another scheme', 'wss://tokens.example.com'],
  ])('is not one with %s', (_, value) => {
    expect(isIssuer(value)).toBe(false)
    expect(refusalOf({ MAYFLY_ISSUER: value })).toMatch(/^MAYFLY_ISSUER /)
  })
})

describe('loopback', () => {
  it.each(['127.0.0.1', '127.255.255.254', '::1', '[::1]', 'localhost'])('is %s', (host) => {
    expect(isLoopback(host)).toBe(true)
  })

  it.each([
    '0.0.0.0',
    '::',
    '128.0.0.1',
    '127.0.0.1.example.com',
    'localhost.example.com',
    '::ffff:1.2.3.4',
    '',
    '1270.0.1',
  ])('is not %j', (host) => {
    expect(isLoopback(host)).toBe(false)
  })
})

describe('a password in a setting', () => {
  it.each([
    ['MAYFLY_DATABASE_URL', 'postgres://mayfly:hunter2@db.internal'],
    ['MAYFLY_DATABASE_URL', 'postgres://mayfly:p/hunter2@db.internal/mayfly'],
    ['MAYFLY_DATABASE_URL', 'postgres://mayfly:5/hunter2@db.internal'],
    ['MAYFLY_DATABASE_URL', 'postgres://mayfly:p?hunter2@db.internal/mayfly'],
    ['MAYFLY_DATABASE_URL', 'postgres://mayfly:p#hunter2@db.internal/mayfly'],
    ['MAYFLY_DATABASE_URL', 'postgres://mayfly:p%hunter2@db.internal/mayfly'],
    ['MAYFLY_DATABASE_URL', 'postgresql:///mayfly?user=mayfly&password=hunter2'],
    ['MAYFLY_DATABASE_URL', 'POSTGRES:mayfly:hunter2'],
    ['MAYFLY_DATABASE_URL', ' postgres://mayfly:hunter2@db.internal/mayfly'],
    ['MAYFLY_DATABASE_URL', 'mysql://mayfly:hunter2@db.internal/mayfly'],
    ['MAYFLY_DATABASE_URL', 'mysql://mayfly:p@hunter2@db.internal/mayfly'],
    ['MAYFLY_DATABASE_URL', 'mysql://mayfly:p/hunter2@db.internal/mayfly'],
    ['MAYFLY_ISSUER', 'https://mayfly:hunter2@tokens.example.com'],
    ['MAYFLY_ISSUER', 'https://mayfly:p@hunter2@tokens.example.com'],
    ['MAYFLY_METRICS_LISTEN', 'http://mayfly:hunter2@127.0.0.1:9090'],
  ])('is not told again by the refusal of %s=%s', (variable, value) => {
    expect(refusalOf({ [variable]: value })).not.toContain('hunter2')
  })

  it('is not told again when the URL came from a file', () => {
    const where = temporaryFolder()
    writeFileSync(join(where, 'url'), 'postgres://mayfly:hunter2@db.internal\n')
    expect(refusalOf({ MAYFLY_DATABASE_URL_FILE: 'url' }, where)).not.toContain('hunter2')
  })
})

describe('the database', () => {
  it.each([
    ['file:data/x.db', '/srv/mayfly/data/x.db'],
    ['file:./x.db', '/srv/mayfly/x.db'],
    ['file:../x.db', '/srv/x.db'],
    ['file:/var/x.db', '/var/x.db'],
    ['file:///var/x.db', '/var/x.db'],
    ['file:x y.db', '/srv/mayfly/x y.db'],
  ])('of %s lies at %s', (url, path) => {
    expect(parse({ MAYFLY_DATABASE_URL: url }).databasePath).toBe(path)
  })

  it.each([
    ['postgres://mayfly:hunter2@db.internal/mayfly', 'postgres://mayfly@db.internal/mayfly'],
    ['POSTGRESQL://mayfly:hunter2@[::1]:5433/m', 'postgresql://mayfly@[::1]:5433/m'],
    ['postgres://db/m?password=hunter2&sslmode=verify-full', 'postgres://db/m'],
    ['postgres://u%40x:hunter2%40%2F@db/m', 'postgres://u%40x@db/m'],
  ])('of %s is PostgreSQL, and shown without its password', (url, shown) => {
    const settings = parse({ MAYFLY_DATABASE_URL: url })
    expect(settings.databasePath).toBe(shown)
    expect(settings.postgresUrl?.reveal()).toBe(url)
    expect(`${JSON.stringify(settings)} ${inspect(settings)}`).not.toContain('hunter2')
  })

  it.each([
    'postgres:db/mayfly',
    'postgres://db',
    'postgres://db/',
    'postgres:///m',
    'postgres://d b/m',
    'postgres://db/a/b',
  ])('is refused when it is PostgreSQL and cannot be taken apart, as %s cannot', (url) => {
    expect(refusalOf({ MAYFLY_DATABASE_URL: url })).toMatch(
      /^MAYFLY_DATABASE_URL names a PostgreSQL database and cannot be taken apart: it takes file: and a path, or postgres:/,
    )
  })

  it('is named by a file when that is set, without the line break at its end', () => {
    const where = temporaryFolder()
    writeFileSync(join(where, 'url'), 'file:other.db\n')
    expect(parseSettings({ MAYFLY_DATABASE_URL_FILE: 'url' }, where).databasePath).toBe(join(where, 'other.db'))
    expect(parseSettings({ MAYFLY_DATABASE_URL_FILE: join(where, 'url') }, '/').databasePath).toBe('/other.db')
  })

  it('is refused when both the URL and a file are set', () => {
    const both = { MAYFLY_DATABASE_URL: 'file:a', MAYFLY_DATABASE_URL_FILE: 'b' }
    expect(refusalOf(both)).toMatch(/MAYFLY_DATABASE_URL and MAYFLY_DATABASE_URL_FILE are both set/)
    expect(parse({ ...both, MAYFLY_DATABASE_URL_FILE: '' }).databasePath).toBe('/srv/mayfly/a')
  })

  it.each(['missing', '.', 'a\0b'])('is refused when the file %j cannot be read', (file) => {
    const where = temporaryFolder()
    const sentence = refusalOf({ MAYFLY_DATABASE_URL_FILE: file }, where)
    expect(sentence).toMatch(/^MAYFLY_DATABASE_URL_FILE is "/)
    expect(sentence).toContain(where)
  })

  it('is refused, not the default, when the file that shall name it is empty', () => {
    const where = temporaryFolder()
    writeFileSync(join(where, 'url'), '\n')
    expect(refusalOf({ MAYFLY_DATABASE_URL_FILE: 'url' }, where)).toContain('MAYFLY_DATABASE_URL_FILE')
  })

  it('is refused by the name of the variable that was set when the file holds something else', () => {
    const where = temporaryFolder()
    writeFileSync(join(where, 'url'), 'mayfly.db')
    expect(refusalOf({ MAYFLY_DATABASE_URL_FILE: 'url' }, where)).toContain('MAYFLY_DATABASE_URL_FILE')
  })
})

describe('the environment', () => {
  it('is refused when .env cannot be read, by its absolute path', () => {
    const where = temporaryFolder()
    mkdirSync(join(where, '.env'))
    expect(() => readEnvironment({}, where)).toThrow(ConfigError)
    expect(() => readEnvironment({}, where)).toThrow(join(where, '.env'))
  })

  it('is refused when a wrong value stands in .env', () => {
    const where = temporaryFolder()
    writeFileSync(join(where, '.env'), 'MAYFLY_PORT=http\n')
    expect(refusalOf(readEnvironment({}, where), where)).toMatch(/^MAYFLY_PORT is "http"/)
  })
})

describe('trusted proxies', () => {
  it('are addresses and ranges of both families', () => {
    const list = toBlockList(['10.0.0.0/8', '192.0.2.1', '2001:db8::/32', '::1'])
    expect(list.check('10.255.0.1', 'ipv4')).toBe(true)
    expect(list.check('192.0.2.1', 'ipv4')).toBe(true)
    expect(list.check('2001:db8:ffff::1', 'ipv6')).toBe(true)
    expect(list.check('::1', 'ipv6')).toBe(true)
  })

  it('are nothing else', () => {
    const list = toBlockList(['10.0.0.0/8', '192.0.2.1', '2001:db8::/32'])
    for (const address of ['11.0.0.1', '192.0.2.2', '127.0.0.1']) expect(list.check(address, 'ipv4')).toBe(false)
    for (const address of ['2001:db9::1', '::1']) expect(list.check(address, 'ipv6')).toBe(false)
    expect(toBlockList([]).check('127.0.0.1', 'ipv4')).toBe(false)
  })
})
