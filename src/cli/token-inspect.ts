import { type Command, UsageError } from './command.ts'
import { printObject } from './print.ts'

export const tokenInspect: Command = {
  name: 'token inspect',
  summary: 'decode and verify an access token, and say whether it is ours',
  arguments: [{ name: '<token>', description: 'the token, or - to read it from stdin' }],
  example: 'mayfly token inspect - < token.txt',
  async run(context, [argument = '']) {
    const token = (argument === '-' ? await context.readStdin() : argument).trim()
    if (token === '') throw new UsageError('there is no token to inspect')
    const store = await context.openStore()
    const { inspectToken } = await import('../token/inspect.ts')
    const found = await inspectToken(token, store, context.now())
    return printObject({ ...found })
  },
}
