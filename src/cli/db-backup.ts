import { statSync } from 'node:fs'
import type { Command } from './command.ts'
import { printObject } from './print.ts'
import { pathArgument } from './values.ts'

export const dbBackup: Command = {
  name: 'db backup',
  summary: 'write a consistent copy of the database, while it is in use',
  arguments: [{ name: '<file>', description: 'a path where nothing is yet' }],
  example: 'mayfly db backup /var/backups/mayfly-2026-11-24.db',
  async run(context, [argument = '']) {
    const file = pathArgument('db backup', argument)
    const store = await context.openStore()
    await store.backup(file)
    context.note(
      `The backup does not hold the master key: keep ${context.settings.masterKeyFile} too, in another place.`,
    )
    return printObject({ database: store.location, backup: file, bytes: statSync(file).size, holds_master_key: false })
  },
}
