/**
 * The keys of an installation at start. Three things can be there or not: the master key file, the root key and the
 * signing keys; the last two are made in one transaction, so they are there together. What can happen:
 *
 *   file   keys   what it is                          what follows
 *   no     no     a first start                       the file is made, then the keys are claimed
 *   yes    no     a first start that died in between  the keys are claimed with the file that is there
 *   yes    yes    any later start                     the ring is opened and tested
 *   no     yes    the file is lost, or not mounted    refused: a new key would silently replace the ring
 *
 * Two processes that start at once both make what is missing; the file's link and the store's claim each have one
 * winner, and the loser uses what the winner made. Where they have no folder in common the loser cannot: there is one root
 * for all, and whoever has not its master key says that it needs it, and leaves none behind that opens nothing.
 */
import { rmSync } from 'node:fs'
import type { Clock } from '../lib/clock.ts'
import { makeUlid } from '../lib/id.ts'
import type { FirstKeys, KeyMaterial, KeyStore, RememberedTiming } from './key-store.ts'
import { makeSigningKey } from './make-key.ts'
import { createMasterKey, readMasterKey } from './master-key-file.ts'
import { type MasterKey, makeRootKey, unwrapRootKey, wrapRootKey } from './root-key.ts'
import { signingAlgs } from './signer.ts'
import { KeyMaterialError, type StoredSigningKey } from './signing-key.ts'

/** What a start found or made. */
export interface Provisioned {
  readonly masterKey: MasterKey
  /** Whether this start made the installation's first keys. */
  readonly madeKeys: boolean
  /** Whether this start made the master key file. */
  readonly madeMasterKey: boolean
}

/**
 * Makes sure that the store has keys and that the master key file opens them.
 *
 * @throws KeyMaterialError with a sentence that says what to do
 * @throws StoreUnavailable
 */
export async function provisionKeys(
  store: KeyStore,
  masterKeyPath: string,
  timing: RememberedTiming,
  clock: Clock,
): Promise<Provisioned> {
  const material = await store.readKeys()
  const present = readMasterKey(masterKeyPath)
  if (material !== undefined) {
    return { masterKey: checkMasterKey(present, material, masterKeyPath), madeKeys: false, madeMasterKey: false }
  }
  const masterKey = present ?? createMasterKey(masterKeyPath)
  const storeId = makeUlid(clock.nowMilliseconds())
  const madeKeys = await store.claimKeys(await makeFirstKeys(storeId, masterKey, timing, clock), 'server')
  const claimed = madeKeys ? undefined : await store.readKeys()
  if (claimed !== undefined) checkClaimed(masterKey, claimed, masterKeyPath, present === undefined)
  return { masterKey, madeKeys, madeMasterKey: present === undefined }
}

/**
 * The master key, if it is there and opens the store's root keys.
 *
 * @throws KeyMaterialError with a sentence that says what to do
 */
export function checkMasterKey(
  master: MasterKey | undefined,
  material: Pick<KeyMaterial, 'rootKeys' | 'storeId'>,
  path: string,
): MasterKey {
  if (master === undefined) {
    throw new KeyMaterialError(
      `the master key ${path} is missing, and the database was made with one: put it back from your backup, or from another node of this database, or point MAYFLY_MASTER_KEY_FILE at it`,
    )
  }
  try {
    for (const root of material.rootKeys) unwrapRootKey(root, master, material.storeId)
  } catch (cause) {
    throw new KeyMaterialError(
      `the master key ${path} belongs to another database: point MAYFLY_MASTER_KEY_FILE or MAYFLY_DATABASE_URL at the one that goes with it`,
      { cause },
    )
  }
  return master
}

function checkClaimed(master: MasterKey, claimed: KeyMaterial, path: string, isNew: boolean): void {
  try {
    checkMasterKey(master, claimed, path)
  } catch (cause) {
    if (!isNew) throw cause
    rmSync(path, { force: true })
    throw new KeyMaterialError(
      `another node has claimed the database meanwhile, with a master key of its own: copy that to ${path}, for this user alone, and start again`,
      { cause },
    )
  }
}

// The first key of each ring signs at once, for nobody has cached anything yet; behind it stands a staged one, so that
// an emergency can switch to a key that every verifier already has.
async function makeFirstKeys(
  storeId: string,
  masterKey: MasterKey,
  timing: RememberedTiming,
  clock: Clock,
): Promise<FirstKeys> {
  const root = makeRootKey(1)
  const now = clock.nowMilliseconds()
  const published = {
    createdAt: now,
    publishedAt: now,
    publishedRunning: 0,
    cachedSeconds: 0,
    maxTtlSeconds: timing.accessTokenMaxTtlSeconds,
    maxAgeSeconds: timing.jwksMaxAgeSeconds,
  }
  const wanted = signingAlgs.flatMap((alg) => [
    { alg, state: 'active' as const },
    { alg, state: 'staged' as const },
  ])
  const signingKeys = await Promise.all(
    wanted.map(async ({ alg, state }): Promise<StoredSigningKey> => {
      const key = { ...(await makeSigningKey(root, storeId, alg)), ...published, state }
      return state === 'active' ? { ...key, activatedAt: now } : key
    }),
  )
  return { storeId, rootKeys: [wrapRootKey(root, masterKey, storeId)], signingKeys }
}
