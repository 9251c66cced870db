import { format, inspect } from 'node:util'
import { deserialize, serialize } from 'node:v8'
import { describe, expect, it } from 'vitest'
import { Secret } from '../../src/lib/secret.ts'

const value = 'mfs_hunter2'
const secret = new Secret(value)

const ways: readonly (readonly [string, () => string])[] = [
  ['String()', () => String(secret)],
  ['toString()', () => secret.toString()],
  ['a template', () => `${secret}`],
  ['concatenation', () => `x${String(secret)}`],
  ['JSON.stringify', () => JSON.stringify(secret)],
  ['JSON.stringify of what holds it', () => JSON.stringify({ list: [secret], deep: { secret } })],
  ['util.inspect', () => inspect(secret)],
  ['util.inspect of what holds it', () => inspect({ list: [secret] }, { depth: 9, showHidden: true })],
  ['util.inspect without its own word', () => inspect(secret, { customInspect: false, showHidden: true, depth: 9 })],
  ['util.format', () => format('%s %j %o %O', secret, secret, secret, secret)],
  ['structuredClone', () => inspect(structuredClone({ secret }), { depth: 9, showHidden: true })],
  ['v8.serialize', () => inspect(deserialize(serialize(secret)), { showHidden: true })],
  ['the bytes of v8.serialize', () => serialize(secret).toString('latin1')],
  ['its members', () => JSON.stringify([Reflect.ownKeys(secret), Object.entries(secret), { ...secret }])],
  ['an error that names it', () => String(new Error(`wrong: ${secret}`).stack)],
]

describe('a secret', () => {
  it.each(ways)('is not shown by %s', (_, show) => {
    expect(show()).not.toContain('hunter2')
  })

  it('says that it is one instead', () => {
    expect(`${secret} ${JSON.stringify(secret)} ${inspect(secret)}`).toBe('[secret] "[secret]" [secret]')
  })

  it('is given out by reveal() alone', () => {
    expect(secret.reveal()).toBe(value)
  })
})
