import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { systemClock } from '../../src/lib/clock.ts'
import { AssertionMaker, makeTestKey } from '../support/assertion.ts'
import { mayfly, mayflyJson } from '../support/process.ts'
import { requestToken, startWithClient } from '../support/server.ts'

const grant = { grant_type: 'client_credentials' }

it('a client moves from a secret to private_key_jwt under load without one refused request', async () => {
  const { server, client } = await startWithClient()
  const cwd = server.folder
  const key = makeTestKey('ES256', 'one')
  const file = join(cwd, 'billing.jwks.json')
  writeFileSync(file, JSON.stringify({ keys: [key.publicKey.jwk] }))
  const maker = new AssertionMaker('billing', server.issuer, key, systemClock)
  const bySecret = () => requestToken(server, grant, { authorization: client.basic })
  const byKey = () => requestToken(server, maker.form())

  const refused: string[] = []
  let served = 0
  let running = true
  const workers = Array.from({ length: 6 }, () => ({ ask: bySecret }))
  const loads = workers.map(async (worker) => {
    while (running) {
      const { status, text } = await worker.ask()
      if (status === 200) served += 1
      else refused.push(text)
    }
  })
  /** Lets the load go on for a while, whatever the machine makes of it. */
  const goOn = async (): Promise<void> => {
    const goal = served + 60
    while (served < goal && refused.length === 0) await new Promise(setImmediate)
  }
  const change = async (...args: string[]): Promise<void> => {
    expect(await mayfly(args, { cwd })).toMatchObject({ code: 0 })
    await goOn()
  }

  await goOn()
  await change('client', 'update', 'billing', '--jwks', file, '--also-accept', 'private_key_jwt')
  for (const worker of workers) {
    worker.ask = byKey
    await goOn()
  }
  await change('client', 'update', 'billing', '--auth-method', 'private_key_jwt')
  const [secret] = await mayflyJson<{ secret_id: string }[]>(['secret', 'list', 'billing'], { cwd })
  await change('secret', 'revoke', 'billing', String(secret?.secret_id))
  running = false
  await Promise.all(loads)

  expect(refused).toEqual([])
  expect(served).toBeGreaterThan(400)
  expect((await bySecret()).status).toBe(401)
  const shown = await mayflyJson(['client', 'show', 'billing'], { cwd })
  expect(shown).toMatchObject({ token_endpoint_auth_method: 'private_key_jwt', secret_count: 0 })
}, 120_000)
