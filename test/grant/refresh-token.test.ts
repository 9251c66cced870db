import { describe, expect, it } from 'vitest'
import { grants } from '../../src/grant/grants.ts'
import { parseForm } from '../../src/http/form.ts'
import { OAuthError } from '../../src/oauth/errors.ts'
import type { Resource } from '../../src/resource/resource.ts'
import type { RefreshFamily } from '../../src/token/family.ts'
import type { Redemption } from '../../src/token/refresh.ts'
import { makeClient } from '../support/client.ts'

const granted = 'https://api.example.test'
const another = 'https://other.example.test'
const ticket = 'mfr_ticket'

/** Granted long ago for one resource, and less than client and resource allow today. */
const family: RefreshFamily = {
  familyId: '01JZZZZZZZZZZZZZZZZZZZZZZZ',
  clientId: 'billing',
  subject: 'the one it was granted to',
  audience: granted,
  scopes: ['read', 'write', 'client-lost', 'resource-lost'],
  seed: new Uint8Array(16),
  generation: 4,
  generationAt: 0,
  rootVersion: 1,
  expiresAt: 1,
  familyExpiresAt: 2,
}
const redemption: Redemption = { use: 'rotate', family, generation: 4 }

const resources: readonly Resource[] = [
  { uri: granted, scopes: ['read', 'write', 'client-lost', 'added'], createdAt: 0, updatedAt: 0 },
  { uri: another, scopes: ['read'], createdAt: 0, updatedAt: 0 },
]

function refresh(body: string, audiences: readonly string[] = [granted, another]) {
  return grants.refresh_token.authorize({
    client: makeClient({
      grantTypes: ['refresh_token'],
      scopes: ['read', 'write', 'resource-lost', 'added'],
      audiences,
    }),
    form: parseForm(body),
    findResource: async (uri) => resources.find((resource) => resource.uri === uri),
    examineTicket: async (presented) => {
      if (presented !== ticket) throw new OAuthError('refresh_unknown')
      return redemption
    },
  })
}

const named = (uri: string): string => `&resource=${encodeURIComponent(uri)}`

describe('a refresh token', () => {
  it('RT-01 brings again what was granted, as far as it is still allowed, and the ticket that it uses up', async () => {
    await expect(refresh(`refresh_token=${ticket}`)).resolves.toEqual({
      subject: 'the one it was granted to',
      audience: resources[0],
      scopes: ['read', 'write'],
      redemption,
    })
  })

  it('RT-06 RI-04 brings less when less is asked for, and the grant stays as it is', async () => {
    await expect(refresh(`refresh_token=${ticket}&scope=write${named(granted)}`)).resolves.toEqual({
      subject: 'the one it was granted to',
      audience: resources[0],
      scopes: ['write'],
      redemption,
    })
  })

  it.each([
    ['refresh_missing', 'when there is none', ''],
    ['refresh_missing', 'HTTP-05 when it is empty', 'refresh_token='],
    [
      'refresh_unknown',
      'RT-07 when it is not good, whatever else is asked',
      `refresh_token=x${named(another)}&scope=x`,
    ],
    ['resource_not_granted', 'RI-04 for what the client may have by another grant', named(another)],
    ['resource_not_granted', 'RI-02 for its resource with a slash behind', named(`${granted}/`)],
    ['resource_several', 'RI-03 for its resource and another', named(granted) + named(another)],
    ['resource_several', 'RI-03 for two that are not its own', named(another) + named(another)],
    ['scope_not_allowed', 'RT-09 for a scope that came later', '&scope=added'],
    ['scope_not_allowed', 'RT-09 for what the client has lost', '&scope=read+client-lost'],
    ['scope_not_allowed', 'RT-09 for what the resource has lost', '&scope=resource-lost'],
    ['scope_malformed', 'for a scope that is none', '&scope=read++write'],
  ])('is refused as %s, %s', async (reason, _, body) => {
    const asked = reason.startsWith('refresh') ? body : `refresh_token=${ticket}${body}`
    await expect(refresh(asked)).rejects.toMatchObject({ name: 'OAuthError', reason })
  })

  it('G13 is refused when its resource was taken from the client, which has one still', async () => {
    await expect(refresh(`refresh_token=${ticket}`, [another])).rejects.toMatchObject({
      reason: 'resource_not_allowed',
    })
  })
})
