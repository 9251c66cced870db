import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { hashImportedSecret } from '../../src/client/imported-secret.ts'
import {
  canary,
  exchange,
  expectOrderly,
  type HostileServer,
  patience,
  runs,
  seed,
  serverOfFile,
} from '../support/hostile.ts'
import { api, basic as toBasic } from '../support/server.ts'
import { bytes, encodedText, formType, frame, headerBytes } from './requests.ts'

const serverNow = serverOfFile()
const body = 'grant_type=client_credentials'

const encode = (text: string): string => Buffer.from(text, 'latin1').toString('base64')

const idText = fc.oneof(fc.constantFrom('billing', 'poster', 'BILLING', '', '__proto__', 'bil%6cing'), encodedText)

/** What stands behind `Basic `, made of a secret that is right. */
function hostileBasic(secret: string): fc.Arbitrary<string> {
  const honest = `billing:${secret}`
  const secretText = fc.oneof(
    fc.constantFrom(secret, secret.slice(0, -1), `${secret}0`, secret.toLowerCase(), `${secret}%00`, canary, ''),
    encodedText,
    bytes(40),
  )
  const pair = fc.tuple(idText, secretText).map(([id, text]) => encode(`${id}:${text}`))
  const base64 = encode(honest)
  return fc.oneof(
    fc.constant(base64),
    pair,
    bytes(60).map(encode),
    headerBytes(60),
    // The right credentials with one byte that is another, before or behind the encoding.
    fc.tuple(fc.nat(honest.length - 1), fc.nat(255)).map(([at, byte]) => {
      return encode(honest.slice(0, at) + String.fromCharCode(byte) + honest.slice(at + 1))
    }),
    fc.tuple(fc.nat(base64.length), headerBytes(3)).map(([at, text]) => base64.slice(0, at) + text + base64.slice(at)),
    fc.integer({ min: 1, max: 15_000 }).map((length) => encode(`billing:${'x'.repeat(length)}`)),
  )
}

const scheme = fc.constantFrom('Basic ', 'Basic ', 'Basic ', 'basic  ', 'Basic\t', 'Basic', 'Bearer ', 'DPoP ', '')

async function present(server: HostileServer, authorization: string) {
  const head = ['POST /token HTTP/1.1', 'Host: x', `Content-Type: ${formType}`, `Authorization: ${authorization}`]
  const { replies, rest } = await exchange(server.url, frame({ head, body }), { replies: 1 })
  const [reply] = replies
  if (reply === undefined) throw new Error('no reply')
  expect([replies.length, rest]).toEqual([1, ''])
  expectOrderly(reply)
  return reply
}

/** Whether the header proves the client `billing` to a strict reader: base64 of the one pair, form-encoded or not. */
function isProof(authorization: string, secret: string): boolean {
  const encoded = /^basic +(?<text>[A-Za-z0-9+/]+=*)$/i.exec(authorization)?.groups?.text
  const [, id = '', presented = ''] = /^([^:]*):(.*)$/s.exec(atobOrNothing(encoded)) ?? []
  return decodeOrNothing(id) === 'billing' && decodeOrNothing(presented) === secret
}

function atobOrNothing(text = ''): string {
  try {
    return atob(text)
  } catch {
    return ''
  }
}

function decodeOrNothing(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return ''
  }
}

describe('hostile credentials', () => {
  it(`C02 C03 CA-13 prove nobody but who they are of (FC_SEED=${seed})`, patience, async () => {
    const server = serverNow()
    const { secret } = server.basic
    const seen = { issued: 0, refused: 0 }
    const property = fc.asyncProperty(scheme, hostileBasic(secret), async (scheme, text) => {
      const authorization = `${scheme}${text}`.trim()
      const before = server.state()
      const reply = await present(server, authorization)
      const issued = reply.status === 200
      expect(issued).toBe(isProof(authorization, secret))
      expect(server.state()).toEqual({ ...before, issued: before.issued + Number(issued) })
      seen[issued ? 'issued' : 'refused'] += 1
      if (!issued) {
        expect([400, 401, 431]).toContain(reply.status)
        for (const written of [reply.body, server.takeLog()]) {
          expect(written).not.toContain(secret)
          expect(written).not.toContain(canary)
        }
        await server.askHonestly()
      }
    })
    await fc.assert(property, runs(200))
    expect(Math.min(seen.issued, seen.refused)).toBeGreaterThan(10)
  })

  it('C02 prove nobody with any byte alone, raw or encoded, in front of, within or behind the right ones', async () => {
    const server = serverNow()
    const { secret } = server.basic
    const before = server.state()
    for (let byte = 0; byte < 256; byte += 1) {
      const raw = String.fromCharCode(byte)
      const escaped = `%${byte.toString(16).padStart(2, '0')}`
      for (const text of [
        `billing${raw}:${secret}`,
        `billing:${raw}${secret}`,
        `billing:${secret}${escaped}`,
        `${escaped}billing:${secret}`,
      ]) {
        const reply = await present(server, `Basic ${encode(text)}`)
        // A colon too many belongs to the secret, which is then another one.
        expect([reply.status, text]).toEqual([401, text])
      }
    }
    expect(server.state()).toEqual(before)
    await server.askHonestly()
  })

  it(`C08 are answered alike where a secret is imported, whatever they are (FC_SEED=${seed})`, patience, async () => {
    const server = serverNow()
    const imported = 'pässword: 100%+'
    const { store } = server.running.prepared
    const argon2id = await hashImportedSecret(imported, { memoryKib: 7_168, passes: 5, lanes: 1 })
    await store.createClient(
      'legacy',
      {
        name: 'legacy',
        grantTypes: ['client_credentials'],
        authMethods: ['client_secret_basic'],
        scopes: ['read'],
        audiences: [api],
      },
      { kind: 'imported', secretId: 'sec_0123456789abcdef', argon2id },
      'cli:test',
    )
    const right = toBasic('legacy', imported)
    const text = fc.oneof(
      encodedText,
      bytes(40),
      fc.string({ unit: 'grapheme', maxLength: 30 }).map(encodeURIComponent),
    )
    const property = fc.asyncProperty(fc.constantFrom('legacy', 'nobody'), text, async (id, secret) => {
      const reply = await present(server, `Basic ${encode(`${id}:${secret}`)}`)
      expect(reply.status).toBe(401)
      expect(JSON.parse(reply.body)).toEqual({
        error: 'invalid_client',
        error_description: 'client authentication failed',
      })
    })
    const before = server.state()
    await fc.assert(property, runs(40))
    expect(server.state()).toEqual(before)
    expect((await present(server, right)).status).toBe(200)
    await server.askHonestly()
  })
})
