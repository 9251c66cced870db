import { type Command, CommandFailure } from './command.ts'
import { printObject } from './print.ts'

export const dbCheck: Command = {
  name: 'db check',
  summary: 'look for damage, orphans and missing migrations',
  example: 'mayfly db check',
  async run(context) {
    const store = await context.openStore()
    const problems = await store.check()
    if (problems.length > 0) throw new CommandFailure(`${store.location}: ${problems.join('; ')}`)
    return printObject({ database: store.location, ok: true })
  },
}
