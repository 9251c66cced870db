import { isIssuer } from '../config/hosts.ts'
import { type Command, UsageError } from './command.ts'
import { printObject } from './print.ts'
import { quote } from './values.ts'

export const dbAcceptIssuer: Command = {
  name: 'db accept-issuer',
  summary: 'let the database belong to another issuer URL; running servers of the old one stop issuing',
  arguments: [{ name: '<url>', description: 'the new issuer' }],
  example: 'mayfly db accept-issuer https://tokens.example.com',
  changes: true,
  destroys: true,
  async run(context, [url = '']) {
    if (!isIssuer(url))
      throw new UsageError(`${quote(url)} is not an issuer: it takes a URL without trailing slash, query or fragment`)
    const store = await context.openStore()
    await context.confirm(`Verifiers that expect the old issuer will refuse tokens of ${url}. Go on?`)
    return printObject({ issuer: await store.setIssuer(url, context.actor, { replace: true }) })
  },
}
