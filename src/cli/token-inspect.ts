import type { TicketParts } from '../token/ticket.ts'
import { type Command, type CommandContext, UsageError } from './command.ts'
import { openRing } from './open-ring.ts'
import { printObject } from './print.ts'

export const tokenInspect: Command = {
  name: 'token inspect',
  summary: 'say of an access or refresh token whether it is ours and alive, and why not',
  arguments: [{ name: '<token>', description: 'the token, or - to read it from stdin' }],
  example: 'mayfly token inspect - < token.txt',
  async run(context, [argument = '']) {
    const token = await readToken(context, argument)
    const { parseTicket } = await import('../token/ticket.ts')
    const ticket = parseTicket(token)
    if (ticket !== undefined) return printObject({ ...(await examineTicket(context, ticket)) })
    const store = await context.openStore()
    const { inspectToken } = await import('../token/inspect.ts')
    return printObject({ ...(await inspectToken(token, store, context.now())) })
  },
}

async function examineTicket(context: CommandContext, ticket: TicketParts) {
  const { inspectTicket } = await import('../token/inspect.ts')
  const { store, ring, moment } = await openRing(context)
  return inspectTicket(ticket, {
    store,
    keys: ring.ticketKeys,
    retryWindowMilliseconds: context.settings.refreshRetryWindowSeconds * 1000,
    now: Math.max(moment.now, moment.wall),
  })
}

/** A token from the command line, or from stdin for `-`. @throws UsageError when there is none */
export async function readToken(context: CommandContext, argument: string): Promise<string> {
  const token = (argument === '-' ? await context.readStdin() : argument).trim()
  if (token === '') throw new UsageError('there is no token')
  return token
}
