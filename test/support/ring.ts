import type { KeyMaterial } from '../../src/key/key-store.ts'
import { makeSigningKey } from '../../src/key/provision.ts'
import { makeRootKey, wrapRootKey } from '../../src/key/root-key.ts'

/** A ring that belongs to nobody: one active ES256 key. */
export async function makeFirstRing(storeId: string): Promise<KeyMaterial> {
  const root = makeRootKey(1)
  const key = await makeSigningKey(root, storeId, 'ES256', 0)
  return {
    storeId,
    rootKeys: [wrapRootKey(root, new Uint8Array(32), storeId)],
    signingKeys: [{ ...key, state: 'active', activatedAt: 0 }],
  }
}
