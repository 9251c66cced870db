import { type Command, CommandFailure } from './command.ts'
import { openRing } from './open-ring.ts'
import { printObject } from './print.ts'

/** For a root that somebody else may know: a new one takes its place, and nothing is encrypted under the old one any more. */
export const keyRotateRoot: Command = {
  name: 'key rotate-root',
  summary: 'replace the root key, and encrypt the signing keys anew under it',
  example: 'mayfly key rotate-root',
  changes: true,
  destroys: true,
  async run(context) {
    const { store, material, ring } = await openRing(context)
    await context.confirm('Replace the root key?')
    const { decryptPrivateKey, encryptPrivateKey, makeRootKey, unwrapRootKey, wrapRootKey } = await import(
      '../key/root-key.ts'
    )
    const { readMasterKey } = await import('../key/master-key-file.ts')
    const { checkMasterKey } = await import('../key/provision.ts')
    const { masterKeyFile } = context.settings
    const master = checkMasterKey(readMasterKey(masterKeyFile), material, masterKeyFile)
    const { storeId } = material
    const olds = new Map(material.rootKeys.map((root) => [root.version, unwrapRootKey(root, master, storeId)]))
    const root = makeRootKey(ring.root.root.version + 1)
    const keys = material.signingKeys.map(({ kid, rootVersion, encryptedPrivateKey }) => {
      const old = olds.get(rootVersion)
      if (old === undefined) throw new CommandFailure(`the root key ${rootVersion} of the key ${kid} is missing`)
      const pkcs8 = decryptPrivateKey(old, storeId, kid, encryptedPrivateKey)
      return { kid, encryptedPrivateKey: encryptPrivateKey(root, storeId, kid, pkcs8) }
    })
    const replacement = { from: material.rootKeys, root: wrapRootKey(root, master, storeId), keys }
    if (!(await store.replaceRoot(replacement, context.actor))) {
      throw new CommandFailure('the ring or its master key changed meanwhile and nothing was done: try again')
    }
    return printObject({ root_version: root.version, signing_keys: keys.map((key) => key.kid) }, [
      '',
      'Refresh tokens of before no longer verify: clients that have one begin anew.',
      'Whoever knew the old root and has a copy of the database from before now has the signing keys too. If that may be,',
      `also run \`${context.program} key revoke ${keys[0]?.kid ?? 'KID'} --fresh\`. Destroy backups of before now, or keep them as closely as the keys.`,
    ])
  },
}
