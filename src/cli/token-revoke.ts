import { isUlid } from '../lib/id.ts'
import type { Store } from '../store/store.ts'
import type { RevocationTarget } from '../token/revoke.ts'
import type { TicketParts } from '../token/ticket.ts'
import { type Command, type CommandContext, CommandFailure } from './command.ts'
import { openRing } from './open-ring.ts'
import { printObject, timestamp } from './print.ts'
import { readToken } from './token-inspect.ts'

type Target = Exclude<RevocationTarget, { readonly kind: 'none' }>

interface Found {
  readonly store: Store
  readonly target: Target
}

export const tokenRevoke: Command = {
  name: 'token revoke',
  summary: 'end an access token, or with a refresh token its whole family, from the next request on',
  arguments: [
    { name: '<token-or-jti>', description: 'the token, the jti of an access token, or - to read either from stdin' },
  ],
  example: 'mayfly token revoke 01M894BFW56ZZ0VM234ZMN5PCW',
  changes: true,
  destroys: true,
  async run(context, [argument = '']) {
    const text = await readToken(context, argument)
    const { parseTicket } = await import('../token/ticket.ts')
    const { endTarget } = await import('../token/revoke.ts')
    const ticket = parseTicket(text)
    const { store, target } = await (ticket === undefined
      ? findAccessToken(context, text)
      : findFamily(context, ticket))
    await context.confirm(question(target))
    return report(target, await endTarget(store, target, { actor: context.actor }))
  },
}

async function findAccessToken(context: CommandContext, text: string): Promise<Found> {
  const store = await context.openStore()
  const jti = isUlid(text) ? text : await readJti(context, store, text)
  const record = await store.findIssuance(jti)
  if (record === undefined) {
    throw new CommandFailure(
      `no token ${jti} is on record: \`mayfly audit list --type token.issued\` shows those that are`,
    )
  }
  const { clientId, expiresAt } = record
  if (expiresAt * 1000 <= context.now()) {
    throw new CommandFailure(`the token ${jti} expired at ${timestamp(expiresAt * 1000)}, and nothing was changed`)
  }
  return { store, target: { kind: 'access_token', claims: { jti, client_id: clientId, exp: expiresAt } } }
}

// A token stands for its jti only when it is ours: another that names the jti of one must not end it.
async function readJti(context: CommandContext, store: Store, token: string): Promise<string> {
  const { inspectToken } = await import('../token/inspect.ts')
  const { parseJwt } = await import('../oauth/jwt.ts')
  const { active, fault, reason } = await inspectToken(token, store, context.now())
  const jti = parseJwt(token)?.claims.jti
  if (jti === undefined || (!active && fault !== 'revoked')) {
    throw new CommandFailure(`the token is not active, and nothing was changed: ${reason}`)
  }
  return jti
}

async function findFamily(context: CommandContext, ticket: TicketParts): Promise<Found> {
  const { isTicketOf } = await import('../token/ticket.ts')
  const { store, ring } = await openRing(context)
  const key = ring.ticketKeys.keyOf(ticket.rootVersion)
  const family = await store.findFamily(ticket.familyId)
  if (key === undefined || family === undefined || !isTicketOf(ticket, family.seed, key)) {
    throw new CommandFailure(
      'the refresh token is of no family here, and nothing was changed: `mayfly token inspect` says why',
    )
  }
  return { store, target: { kind: 'refresh_token', family } }
}

function question(target: Target): string {
  return target.kind === 'refresh_token'
    ? `End the refresh family ${target.family.familyId} of ${target.family.clientId} and its access tokens?`
    : `Revoke the access token ${target.claims.jti} of ${target.claims.client_id}?`
}

function report(target: Target, revoked: boolean) {
  const more = revoked ? [] : ['', 'It had ended before: nothing was changed.']
  if (target.kind === 'refresh_token') {
    const { familyId, clientId } = target.family
    return printObject({ kind: target.kind, family: familyId, client_id: clientId, revoked }, more)
  }
  const { jti, client_id: clientId, exp } = target.claims
  return printObject({ kind: target.kind, jti, client_id: clientId, expires_at: timestamp(exp * 1000), revoked }, more)
}
