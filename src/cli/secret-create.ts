import { generateSecret } from '../client/client-secret.ts'
import type { Command } from './command.ts'
import { printObject, timestamp } from './print.ts'
import { parseSpan, textOption } from './values.ts'

export const secretCreate: Command = {
  name: 'secret create',
  summary: 'make another secret for a client, beside those that it has, and print it, once',
  arguments: [{ name: '<id>', description: 'the client_id' }],
  options: [{ flags: '--expires-in <duration>', description: 'when it ends by itself, such as 30d (default: never)' }],
  example: 'mayfly secret create billing --expires-in 30d',
  changes: true,
  async run(context, [clientId = ''], options) {
    const span = textOption(options, 'expiresIn')
    const seconds = span === undefined ? undefined : parseSpan(span, 'a life')
    const store = await context.openStore()
    const { secretId, sha256, secret } = generateSecret()
    const expiry = seconds === undefined ? {} : { expiresAt: context.now() + seconds * 1000 }
    const facts = await store.createSecret(clientId, { kind: 'generated', secretId, sha256, ...expiry }, context.actor)
    const json = {
      client_id: clientId,
      secret_id: secretId,
      client_secret: secret.reveal(),
      client_secret_expires_at: facts.expiresAt === undefined ? 0 : Math.floor(facts.expiresAt / 1000),
      expires_at: timestamp(facts.expiresAt),
      created_at: timestamp(facts.createdAt),
    }
    const printed = printObject(json, ['', 'This is the only time that the secret is shown.'])
    return { ...printed, secretOf: clientId }
  },
}
