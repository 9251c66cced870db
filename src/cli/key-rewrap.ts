import { resolve } from 'node:path'
import { defaultWitnessFile } from '../config/storage.ts'
import type { Store } from '../store/store.ts'
import { type Command, type CommandContext, CommandFailure, UsageError } from './command.ts'
import { viewRing } from './open-ring.ts'
import { printObject } from './print.ts'
import { textOption } from './values.ts'

/**
 * The wrapping changes, and nothing else: signing keys, secrets and tokens stay. First the new file is there, whole and
 * flushed, then one transaction wraps every root anew. A crash before it leaves the old key in force, and the new file is
 * used by the next try; a crash after it leaves the new one in force.
 */
export const keyRewrap: Command = {
  name: 'key rewrap',
  summary: 'replace the master key: wrap the root key with the one in another file, which is made if it is not there',
  options: [{ flags: '--new-master-key <file>', description: 'where the new master key lies or shall lie' }],
  example: 'mayfly key rewrap --new-master-key keys/master-2.key',
  changes: true,
  async run(context, _, options) {
    const given = textOption(options, 'newMasterKey')
    if (given === undefined || given === '') throw new UsageError('--new-master-key is missing: it takes a path')
    const file = resolve(given)
    const { store, material } = await viewRing(context)
    const { createMasterKey, readMasterKey } = await import('../key/master-key-file.ts')
    const { checkMasterKey } = await import('../key/provision.ts')
    const { unwrapRootKey, wrapRootKey } = await import('../key/root-key.ts')
    const { masterKeyFile } = context.settings
    const present = readMasterKey(file)
    // Also when a try before was killed after its act: then the old key opens nothing any more.
    if (present !== undefined && opensRoots(present)) {
      throw new CommandFailure(
        `${file} holds the master key that is in force and nothing was changed: set MAYFLY_MASTER_KEY_FILE to it, or give the path of another, or of none`,
      )
    }
    const old = checkMasterKey(readMasterKey(masterKeyFile), material, masterKeyFile)
    const fresh = present ?? createMasterKey(file)
    const { storeId } = material
    const roots = material.rootKeys.map((root) => wrapRootKey(unwrapRootKey(root, old, storeId), fresh, storeId))
    if (!(await store.rewrapRoots({ from: material.rootKeys, to: roots }, context.actor))) {
      throw new CommandFailure('the root key or its master key changed meanwhile and nothing was done: try again')
    }
    await moveWitness(context, store, file)
    return printObject({ new_master_key_file: file, old_master_key_file: masterKeyFile, root_keys: roots.length }, [
      '',
      `From now on the database opens with ${file} alone: set MAYFLY_MASTER_KEY_FILE to it, or put it in the old one's place, before`,
      'the next start, and before the root is replaced. Servers that run go on until then. Keep the old file as long as you keep',
      'backups of before now; then destroy it.',
    ])

    function opensRoots(master: Uint8Array): boolean {
      try {
        checkMasterKey(master, material, file)
        return true
      } catch {
        return false
      }
    }
  },
}

// Beside the new key, where the next start will look for it, it must know as much as beside the old one.
async function moveWitness({ settings }: CommandContext, store: Store, newMasterKeyFile: string): Promise<void> {
  if (settings.witnessFile !== defaultWitnessFile(settings.masterKeyFile)) return
  const { Witness } = await import('../store/witness.ts')
  const material = await store.readKeys()
  const registry = await store.readRegistrySequence()
  const mark = await store.readMarkSequence()
  if (material === undefined) return
  await new Witness(defaultWitnessFile(newMasterKeyFile)).raise(material.storeId, { registry, mark })
}
