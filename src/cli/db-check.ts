import { type Command, CommandFailure } from './command.ts'
import { printObject } from './print.ts'
import { describeCopy } from './remains.ts'

export const dbCheck: Command = {
  name: 'db check',
  summary: 'look for damage, orphans, missing migrations and a copy that is not finished',
  example: 'mayfly db check',
  async run(context) {
    const store = await context.openStore()
    const problems = await store.check()
    if (problems.length > 0) throw new CommandFailure(`${store.location}: ${problems.join('; ')}`)
    const copies = (await store.readRemains()).map(describeCopy).filter((sentence) => sentence !== undefined)
    return printObject({ database: store.location, ok: true, unfinished_copy: copies[0] ?? null })
  },
}
