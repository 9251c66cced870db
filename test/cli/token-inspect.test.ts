import { describe, expect, it } from 'vitest'
import { mayfly } from '../support/process.ts'
import { getToken, startWithClient } from '../support/server.ts'

describe('mayfly token inspect', () => {
  it('says of our token that it is active, and why another is not; never shows a signature', async () => {
    const { server, client } = await startWithClient()
    const token = await getToken(server, client)
    const [header = '', payload = '', signature = ''] = token.split('.')
    const inspect = async (input: string) => {
      const { code, stdout, stderr } = await mayfly(['token', 'inspect', '-', '--json'], { cwd: server.folder, input })
      expect([code, stderr]).toEqual([0, ''])
      expect(stdout).not.toContain(signature.slice(0, 40))
      return JSON.parse(stdout) as Record<string, unknown>
    }
    const good = await inspect(token)
    expect(good).toMatchObject({
      active: true,
      reason: null,
      recorded: true,
      header: { typ: 'at+jwt', alg: 'ES256' },
      claims: { client_id: 'billing' },
    })
    const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as object
    const changed = Buffer.from(JSON.stringify({ ...claims, sub: 'admin' })).toString('base64url')
    expect(await inspect(`${header}.${changed}.${signature}`)).toMatchObject({
      active: false,
      reason: 'its signature is wrong',
    })
    const none = Buffer.from(JSON.stringify({ alg: 'none' })).toString('base64url')
    expect(await inspect(`${none}.${payload}.`)).toMatchObject({ active: false })
    expect(await inspect('garbage')).toMatchObject({ active: false, reason: 'it is not a signed JWT' })
    const argument = await mayfly(['token', 'inspect', token], { cwd: server.folder })
    expect(argument.stdout).toMatch(/^active +true$/m)
    const empty = await mayfly(['token', 'inspect', '-'], { cwd: server.folder, input: '\n' })
    expect(empty.code).toBe(2)
  })
})
