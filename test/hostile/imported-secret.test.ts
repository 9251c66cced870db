import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { clientCreate } from '../../src/cli/client-create.ts'
import { type CommandContext, type OptionValues, UsageError } from '../../src/cli/command.ts'
import { isAcceptableCost, parseArgonHash } from '../../src/client/imported-secret.ts'
import { RegistryError } from '../../src/lib/store-error.ts'
import { canary, type HostileServer, patience, runs, seed, serverOfFile } from '../support/hostile.ts'
import { api } from '../support/server.ts'

const serverNow = serverOfFile()
let made = 0

/** Runs `client create` on the server's own store. Resolves with what it printed, or the sentence of its refusal. */
async function register(server: HostileServer, options: OptionValues, input = ''): Promise<object | string> {
  const store = server.running.prepared.store
  const context = {
    settings: { accessTokenMaxTtlSeconds: 3600 },
    actor: 'cli:test',
    program: 'mayfly',
    openStore: async () => store,
    readStdin: async () => input,
  } as unknown as CommandContext
  made += 1
  try {
    return (await clientCreate.run(context, [`c${made}`], { audience: [api], ...options })) ?? {}
  } catch (error) {
    if (error instanceof UsageError || error instanceof RegistryError) return error.message
    throw error
  }
}

const base64 = fc.oneof(
  fc.uint8Array({ maxLength: 70 }).map((bytes) => Buffer.from(bytes).toString('base64').replace(/=+$/, '')),
  fc.stringMatching(/^[A-Za-z0-9+/=_.-]{0,90}$/),
  fc.constantFrom('c29tZXNhbHRzb21lc2FsdA', 'A'.repeat(43), canary),
)
const number = fc.oneof(
  fc.constantFrom('19456', '2', '1', '7168', '65536', '0', '-1', '4', '5', '255', '2147483648', '1e5', '0x10', ''),
  fc.integer({ min: 0, max: 10 ** 9 }).map(String),
)
const phc = fc
  .tuple(
    fc.constantFrom('argon2id', 'argon2id', 'argon2i', 'ARGON2ID', '2b'),
    fc.constantFrom('v=19', 'v=16', 'v=0019'),
  )
  .chain((head) => fc.tuple(fc.constant(head), number, number, number, base64, base64))
  .map(([[name, version], m, t, p, salt, hash]) => `$${name}$${version}$m=${m},t=${t},p=${p}$${salt}$${hash}`)
const good = '$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$'
const nearlyGood = fc.tuple(base64, fc.constantFrom('', '\n', '$', ' ', '\0')).map(([hash, end]) => good + hash + end)
const wholeHash = fc
  .uint8Array({ minLength: 32, maxLength: 32 })
  .map((bytes) => good + Buffer.from(bytes).toString('base64').replace(/=+$/, ''))

describe('a hostile imported secret', () => {
  it(
    `C09 as a hash is refused in one sentence, or can be checked at a bounded cost (FC_SEED=${seed})`,
    patience,
    async () => {
      const server = serverNow()
      const seen = { kept: 0, refused: 0 }
      const text = fc.oneof(phc, nearlyGood, wholeHash, fc.string({ unit: 'binary', maxLength: 80 }))
      const property = fc.asyncProperty(text, async (secretHash) => {
        const before = server.state()
        const printed = await register(server, { secretHash })
        const kept = typeof printed !== 'string'
        seen[kept ? 'kept' : 'refused'] += 1
        expect(server.state()).toEqual({ ...before, sequence: before.sequence + Number(kept) })
        expect(JSON.stringify(printed)).not.toContain(canary)
        if (!kept) return
        const cost = parseArgonHash(secretHash)
        expect(cost !== undefined && isAcceptableCost(cost)).toBe(true)
      })
      await fc.assert(property, runs(250))
      expect(Math.min(seen.kept, seen.refused)).toBeGreaterThan(10)
      await server.askHonestly()
    },
  )

  it(`as text is refused in one sentence, or proves its client (FC_SEED=${seed})`, patience, async () => {
    const server = serverNow()
    const piece = fc.oneof(
      fc.string({ unit: 'grapheme', maxLength: 40 }),
      fc.string({ unit: 'binary', maxLength: 300 }),
      fc.constantFrom('mfs_', '\r\n', '\n', '\0', ' ', '%', '+', ':', '\u{1f511}'),
    )
    const text = fc.array(piece, { minLength: 1, maxLength: 3 }).map((pieces) => pieces.join(''))
    const property = fc.asyncProperty(text, async (input) => {
      const before = server.state()
      const printed = await register(server, { secretStdin: true }, input)
      const presented = input.replace(/\r?\n$/, '')
      if (typeof printed === 'string') {
        expect(server.state()).toEqual(before)
        if (presented.length > 8) expect(printed).not.toContain(presented)
        return
      }
      const form = new URLSearchParams({ grant_type: 'client_credentials' })
      const credentials = [`c${made}`, presented].map((each) => new URLSearchParams({ v: each }).toString().slice(2))
      const authorization = `Basic ${Buffer.from(credentials.join(':')).toString('base64')}`
      const reply = await fetch(`${server.url}/token`, { method: 'POST', body: form, headers: { authorization } })
      expect([reply.status, await reply.text()]).toEqual([200, expect.stringContaining('access_token')])
    })
    await fc.assert(property, runs(40))
    await server.askHonestly()
  })
})
