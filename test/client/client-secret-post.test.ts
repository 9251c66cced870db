import { describe, expect, it } from 'vitest'
import { clientSecretPost } from '../../src/client/client-secret-post.ts'
import { parseForm } from '../../src/http/form.ts'
import { secretOf } from '../support/credentials.ts'

function parse(body: string): { clientId: string; secret: string } {
  const presented = clientSecretPost.parse({ authorization: undefined, form: parseForm(body) })
  return { clientId: presented.clientId, secret: secretOf(presented) }
}

describe('client_secret_post', () => {
  it('CA-06 reads id and secret as the form has them', () => {
    expect(parse('client_id=a%2Fb&client_secret=%C3%A9+%2B')).toEqual({ clientId: 'a/b', secret: 'é +' })
  })

  it('CA-06 is what a request with a secret in its form tries to use, with an id or without', () => {
    for (const body of ['client_secret=x', 'client_id=billing&client_secret=x']) {
      expect(clientSecretPost.isUsed({ authorization: undefined, form: parseForm(body) })).toBe(true)
    }
  })

  it.each(['', 'client_id=billing', 'client_secret=', 'secret=x', 'Client_Secret=x'])(
    'is not what a request with %j tries to use',
    (body) => {
      expect(clientSecretPost.isUsed({ authorization: 'Basic x', form: parseForm(body) })).toBe(false)
    },
  )

  it.each([
    '',
    'client_id=billing',
    'client_secret=x',
    'client_id=&client_secret=x',
    'client_id=billing&client_secret=',
  ])('rejects %j, where one of both is missing', (body) => {
    expect(() => parse(body)).toThrow(expect.objectContaining({ reason: 'authentication_malformed' }))
  })
})
