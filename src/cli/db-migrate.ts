import { keyTimingOf } from '../config/keys.ts'
import type { Command } from './command.ts'
import { printObject } from './print.ts'

export const dbMigrate: Command = {
  name: 'db migrate',
  summary:
    'make the database, the master key and the signing keys if they are not there, and bring the tables up to date',
  example: 'mayfly db migrate',
  changes: true,
  async run(context) {
    const store = await context.openStore({ create: true })
    const { provisionKeys } = await import('../key/provision.ts')
    const timing = keyTimingOf(context.settings)
    const provisioned = await provisionKeys(store, context.settings.masterKeyFile, timing, store.clock)
    return printObject({
      database: store.location,
      master_key_file: context.settings.masterKeyFile,
      made_keys: provisioned.madeKeys,
      made_master_key: provisioned.madeMasterKey,
    })
  },
}
