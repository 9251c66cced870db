/** Client libraries in use, at the endpoints for the end of access. */
import * as oauth from 'oauth4webapi'
import * as openid from 'openid-client'
import { describe, expect, it } from 'vitest'
import { startAccess } from '../support/access.ts'
import { claimsOf } from '../support/server.ts'

const insecure = { [oauth.allowInsecureRequests]: true }
const systemTime = { nowMilliseconds: () => Date.now(), monotonicMilliseconds: () => performance.now() }

describe('oauth4webapi', () => {
  it.each(['ES256', 'RS256'])('revokes, and reads plain and signed answers of %s, which it validates', async (alg) => {
    const scene = await startAccess({ clock: systemTime, env: { MAYFLY_SIGNING_ALG: alg } })
    const url = new URL(scene.server.issuer)
    const as = await oauth.processDiscoveryResponse(
      url,
      await oauth.discoveryRequest(url, { algorithm: 'oauth2', ...insecure }),
    )
    const service: oauth.Client = { client_id: 'service', introspection_signed_response_alg: alg }
    const ask = async (token: string, requestJwtResponse: boolean) => {
      const auth = oauth.ClientSecretBasic(scene.service.secret)
      const reply = await oauth.introspectionRequest(as, service, auth, token, { requestJwtResponse, ...insecure })
      const found = await oauth.processIntrospectionResponse(as, service, reply)
      if (requestJwtResponse) await oauth.validateApplicationLevelSignature(as, reply, insecure)
      return found
    }
    const { accessToken, refreshToken } = await scene.begin()
    for (const signed of [false, true]) {
      expect(await ask(accessToken, signed)).toMatchObject({ active: true, ...claimsOf(accessToken) })
      expect(await ask(refreshToken, signed)).toEqual({ active: false })
    }
    const client: oauth.Client = { client_id: 'billing' }
    const revoked = await oauth.revocationRequest(
      as,
      client,
      oauth.ClientSecretBasic(scene.client.secret),
      refreshToken,
      insecure,
    )
    expect(await oauth.processRevocationResponse(revoked)).toBeUndefined()
    for (const signed of [false, true]) expect(await ask(accessToken, signed)).toEqual({ active: false })
  })
})

describe('openid-client', () => {
  it('revokes and introspects, and is told of a wrong secret', async () => {
    const scene = await startAccess({ clock: systemTime })
    const discover = (id: string, secret: string) =>
      openid.discovery(new URL(scene.server.issuer), id, undefined, openid.ClientSecretBasic(secret), {
        execute: [openid.allowInsecureRequests],
      })
    const service = await discover('service', scene.service.secret)
    const { accessToken } = await scene.begin()
    expect(await openid.tokenIntrospection(service, accessToken)).toMatchObject({ active: true, sub: 'billing' })
    await openid.tokenRevocation(await discover('other', scene.other.secret), accessToken)
    expect(await openid.tokenIntrospection(service, accessToken)).toMatchObject({ active: true })
    await openid.tokenRevocation(await discover('billing', scene.client.secret), accessToken)
    expect(await openid.tokenIntrospection(service, accessToken)).toEqual({ active: false })
    const wrong = await discover('service', 'wrong')
    await expect(openid.tokenIntrospection(wrong, accessToken)).rejects.toMatchObject({ status: 401 })
  })
})
