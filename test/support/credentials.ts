import type { PresentedCredentials } from '../../src/client/methods.ts'

/** The secret of presented credentials; fails when they are of another kind. */
export function secretOf(presented: PresentedCredentials): string {
  if (presented.kind !== 'secret') throw new Error(`a secret was expected, not a ${presented.kind}`)
  return presented.secret.reveal()
}

/** `Basic` credentials as RFC 6749 section 2.3.1 wants them. */
export function basic(id: string, secret: string): string {
  const encode = (text: string): string => new URLSearchParams({ v: text }).toString().slice(2)
  return `Basic ${Buffer.from(`${encode(id)}:${encode(secret)}`).toString('base64')}`
}
