import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Client } from '../../src/client/client.ts'
import { grants } from '../../src/grant/grants.ts'
import { chooseAudience, chooseScopes } from '../../src/grant/target.ts'
import { parseForm } from '../../src/http/form.ts'
import { OAuthError } from '../../src/oauth/errors.ts'
import { grantTypes } from '../../src/oauth/grant-type.ts'
import type { Resource } from '../../src/resource/resource.ts'
import { makeClient } from '../support/client.ts'

const a = 'https://a.example.test'
const b = 'https://b.example.test/v1?x=1'

function makeResource(uri: string, scopes: readonly string[] = []): Resource {
  return { uri, scopes, createdAt: 0, updatedAt: 0 }
}

function clientOf(audiences: readonly string[], scopes: readonly string[] = []): Client {
  return makeClient({ audiences, scopes })
}

async function audienceFor(audiences: readonly string[], body: string, known = [a, b]): Promise<string> {
  const client = clientOf(audiences)
  const findResource = async (wanted: string): Promise<Resource | undefined> =>
    known.includes(wanted) ? makeResource(wanted) : undefined
  const { uri } = await chooseAudience({ client, findResource }, parseForm(body).getAll('resource'))
  return uri
}

const named = (...uris: readonly string[]): string => uris.map((uri) => `resource=${encodeURIComponent(uri)}`).join('&')

describe('the audience of a token', () => {
  it.each([
    ['the only one, unnamed', [a], '', a],
    ['the only one, named', [a], named(a), a],
    ['the one of several that is named', [a, b], named(b), b],
    ['the only one when resource is empty', [a], 'resource=', a],
    ['the named one beside empty ones', [a, b], `resource=&${named(a)}&resource=`, a],
  ])('RI-01 is %s', async (_, audiences, body, uri) => {
    await expect(audienceFor(audiences, body)).resolves.toBe(uri)
  })

  it.each([
    ['resource_missing', 'nothing of a client of several', [a, b], ''],
    ['resource_missing', 'an empty resource of a client of several', [a, b], 'resource='],
    ['resource_missing', 'nothing of a client of none', [], ''],
    ['resource_several', 'two', [a, b], named(a, b)],
    ['resource_several', 'the same one twice', [a], named(a, a)],
    ['resource_several', 'one that it may have and one that it may not', [a], named(a, b)],
    ['resource_not_allowed', 'one that is another client’s', [a], named(b)],
    ['resource_not_allowed', 'one that nobody knows', [a], named('https://c.example.test')],
    ['resource_not_allowed', 'the same with a slash behind', [a], named(`${a}/`)],
    ['resource_not_allowed', 'the same in upper case', [a], named(a.toUpperCase())],
    ['resource_not_allowed', 'the same with its port', [a], named(`${a}:443`)],
    ['resource_not_allowed', 'the same with an escape', [b], named(b.replace('/v1', '/%76%31'))],
    ['resource_not_allowed', 'the same without its query', [b], named(b.replace('?x=1', ''))],
    ['resource_malformed', 'the same with a space before', [a], named(` ${a}`)],
    ['resource_malformed', 'the same with a fragment', [a], named(`${a}#x`)],
    ['resource_malformed', 'a relative URI', [a], named('/v1')],
    ['resource_malformed', 'a word', [a], named('__proto__')],
    ['resource_malformed', 'a list in one parameter', [a, b], named(`${a} ${b}`)],
  ])('RI-02 RI-03 is refused as %s for %s', async (reason, _, audiences, body) => {
    await expect(audienceFor(audiences, body)).rejects.toMatchObject({ name: 'OAuthError', reason })
  })

  it('RI-02 is refused when its resource was deleted', async () => {
    await expect(audienceFor([a], '', [])).rejects.toMatchObject({ reason: 'resource_not_allowed' })
  })

  it('CC-06 is not chosen by the parameter audience', async () => {
    await expect(audienceFor([a], `audience=${encodeURIComponent(b)}`)).resolves.toBe(a)
    await expect(audienceFor([a, b], `audience=${encodeURIComponent(b)}`)).rejects.toMatchObject({
      reason: 'resource_missing',
    })
  })

  it('is an outage when the store cannot say', async () => {
    const findResource = async (): Promise<never> => {
      throw new Error('away')
    }
    await expect(chooseAudience({ client: clientOf([a]), findResource }, [])).rejects.toThrow('away')
  })
})

describe('the scope of a token', () => {
  const audience = makeResource(a, ['read', 'write', 'admin'])
  const choose = (parameter: string | undefined, scopes = ['read', 'write', 'elsewhere']): readonly string[] =>
    chooseScopes(parameter, [scopes, audience.scopes])

  it.each([
    ['all that the client has there, when nothing is asked for', undefined, ['read', 'write']],
    ['what is asked for', 'write', ['write']],
    ['all of it', 'write read', ['write', 'read']],
    ['a set', 'read read', ['read']],
  ])('CC-02 CC-04 is %s', (_, parameter, scopes) => {
    expect(choose(parameter)).toEqual(scopes)
  })

  it('is nothing for a client that has none there, when nothing is asked for', () => {
    expect(choose(undefined, [])).toEqual([])
    expect(choose(undefined, ['elsewhere'])).toEqual([])
  })

  it('RT-09 is what each list allows, however many there are, and nothing where no list says', () => {
    const lists = [
      ['read', 'write', 'admin'],
      ['read', 'write', 'audit'],
      ['admin', 'audit', 'read'],
    ]
    expect(chooseScopes(undefined, lists)).toEqual(['read'])
    for (const scope of ['write', 'admin', 'audit'])
      expect(() => chooseScopes(scope, lists)).toThrow('scope_not_allowed')
    expect(chooseScopes(undefined, [])).toEqual([])
  })

  it.each([
    ['scope_not_allowed', 'what the client does not have', 'admin'],
    ['scope_not_allowed', 'what the resource does not define', 'elsewhere'],
    ['scope_not_allowed', 'what nobody knows', 'root'],
    ['scope_not_allowed', 'one too many', 'read admin'],
    ['scope_not_allowed', 'another case', 'Read'],
    ['scope_not_allowed', 'what JavaScript has a meaning for', 'constructor'],
    ['scope_malformed', 'two spaces', 'read  write'],
    ['scope_malformed', 'a quote', '"read"'],
    ['scope_malformed', 'a comma and a line break', 'read,\nwrite'],
  ])('CC-04 is refused as %s for %s', (reason, _, parameter) => {
    expect(() => choose(parameter)).toThrow(expect.objectContaining({ name: 'OAuthError', reason }))
  })

  it('I13 is a subset of what is registered, defined and asked for, or refused', () => {
    const names = fc.subarray(['read', 'write', 'admin', 'audit'])
    fc.assert(
      fc.property(names, names, fc.option(names, { nil: undefined }), (registered, defined, asked) => {
        fc.pre(asked === undefined || asked.length > 0)
        const allowed = registered.filter((scope) => defined.includes(scope))
        try {
          const granted = chooseScopes(asked?.join(' '), [registered, defined])
          expect(new Set(granted)).toEqual(new Set(asked ?? allowed))
          expect(granted.every((scope) => allowed.includes(scope))).toBe(true)
        } catch (error) {
          expect(error).toBeInstanceOf(OAuthError)
          expect(asked?.every((scope) => allowed.includes(scope))).toBe(false)
        }
      }),
      { seed: 20_260_102, numRuns: 500 },
    )
  })
})

const noTickets = (): never => {
  throw new Error('no ticket was presented')
}

describe('the grants', () => {
  it('CC-04 give a token the scope that was asked for, not all that the client may have', async () => {
    const request = {
      client: clientOf([a], ['read', 'write']),
      form: parseForm('scope=read'),
      findResource: async (uri: string) => makeResource(uri, ['read', 'write']),
      examineTicket: noTickets,
    }
    await expect(grants.client_credentials.authorize(request)).resolves.toMatchObject({ scopes: ['read'] })
  })

  it('CC-04 refuse a scope that the client may not have', async () => {
    const request = {
      client: clientOf([a], ['read']),
      form: parseForm('scope=write'),
      findResource: async (uri: string) => makeResource(uri, ['read', 'write']),
      examineTicket: noTickets,
    }
    await expect(grants.client_credentials.authorize(request)).rejects.toMatchObject({ reason: 'scope_not_allowed' })
  })

  it('RI-01 RI-02 give a client of several audiences the one that it names, and refuse one of another', async () => {
    const ask = (uri: string) =>
      grants.client_credentials.authorize({
        client: clientOf([a, b]),
        form: parseForm(named(uri)),
        findResource: async (wanted) => makeResource(wanted),
        examineTicket: noTickets,
      })
    await expect(ask(b)).resolves.toMatchObject({ audience: { uri: b } })
    await expect(ask('https://c.example.test')).rejects.toMatchObject({ reason: 'resource_not_allowed' })
  })

  it.each([
    [false, ['client_credentials']],
    [true, ['client_credentials', 'refresh_token']],
  ] as const)('CC-03 begin a refresh family: %s for a client of %j', async (startsFamily, grantTypes) => {
    const request = {
      client: makeClient({ audiences: [a], grantTypes }),
      form: parseForm(''),
      findResource: async (uri: string) => makeResource(uri),
      examineTicket: noTickets,
    }
    await expect(grants.client_credentials.authorize(request)).resolves.toMatchObject({ startsFamily })
  })

  it('are those that have a name', () => {
    expect(Object.keys(grants)).toEqual([...grantTypes])
  })

  it('CC-06 make the client the subject of a token by client_credentials, whatever the form says', async () => {
    const request = {
      client: clientOf([a], ['read']),
      form: parseForm('sub=admin&client_id=admin&subject=admin&expires_in=999999&aud=x&cnf=y'),
      findResource: async (uri: string) => makeResource(uri, ['read']),
      examineTicket: noTickets,
    }
    await expect(grants.client_credentials.authorize(request)).resolves.toEqual({
      subject: 'billing',
      audience: makeResource(a, ['read']),
      scopes: ['read'],
      startsFamily: false,
    })
  })
})
