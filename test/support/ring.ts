import type { FirstKeys } from '../../src/key/key-store.ts'
import { makeSigningKey } from '../../src/key/make-key.ts'
import { makeRootKey, type RootKey, wrapRootKey } from '../../src/key/root-key.ts'
import type { SigningAlg } from '../../src/key/signer.ts'
import type { StoredSigningKey } from '../../src/key/signing-key.ts'
import type { KeyTiming } from '../../src/key/timing.ts'

/** The default settings. */
export const defaultTiming: KeyTiming = {
  leadSeconds: 86_400,
  rotationIntervalSeconds: 30 * 86_400,
  jwksMaxAgeSeconds: 300,
  clockSkewSeconds: 60,
  accessTokenMaxTtlSeconds: 3600,
}

/** A key as a store has it, staged at a moment. */
export async function makeStagedKey(
  root: RootKey,
  storeId: string,
  alg: SigningAlg = 'ES256',
  now = 0,
): Promise<StoredSigningKey> {
  return {
    ...(await makeSigningKey(root, storeId, alg)),
    state: 'staged',
    createdAt: now,
    publishedAt: now,
    publishedRunning: 0,
    cachedSeconds: 0,
    maxTtlSeconds: defaultTiming.accessTokenMaxTtlSeconds,
    maxAgeSeconds: defaultTiming.jwksMaxAgeSeconds,
  }
}

/** A ring that belongs to nobody: one active ES256 key, and a staged one if asked for. */
export async function makeFirstRing(storeId: string, { now = 0, staged = false } = {}): Promise<FirstKeys> {
  const root = makeRootKey(1)
  const key = await makeStagedKey(root, storeId, 'ES256', now)
  return {
    storeId,
    rootKeys: [wrapRootKey(root, new Uint8Array(32), storeId)],
    signingKeys: [
      { ...key, state: 'active', activatedAt: now },
      ...(staged ? [await makeStagedKey(root, storeId, 'ES256', now)] : []),
    ],
  }
}
