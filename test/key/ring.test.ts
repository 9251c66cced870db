import { describe, expect, it } from 'vitest'
import type { KeyMaterial } from '../../src/key/key-store.ts'
import { KeyRing, KeyRingOpener, type OpenerOptions } from '../../src/key/ring.ts'
import {
  decryptPrivateKey,
  deriveKey,
  encryptPrivateKey,
  makeRootKey,
  type RootKey,
  wrapRootKey,
} from '../../src/key/root-key.ts'
import type { Signer } from '../../src/key/signer.ts'
import { KeyMaterialError, type KeyState, type StoredSigningKey, selfTest } from '../../src/key/signing-key.ts'
import { makeStagedKey } from '../support/ring.ts'

const storeId = 'store'
const master = new Uint8Array(32).fill(1)
const otherMaster = new Uint8Array(32).fill(2)
const roots = [makeRootKey(1), makeRootKey(2)] as const
const [root, newRoot] = roots

async function makeKey(state: KeyState, alg: 'ES256' | 'RS256' = 'ES256'): Promise<StoredSigningKey> {
  return { ...(await makeStagedKey(root, storeId, alg)), state }
}

function materialOf(
  signingKeys: readonly StoredSigningKey[],
  wrapped: readonly RootKey[] = [root],
  by = master,
): KeyMaterial {
  return {
    storeId,
    signingKeys,
    rootKeys: wrapped.map((each) => wrapRootKey(each, by, storeId)),
    ringMark: { highWater: 1, running: 2, resets: 3 },
  }
}

function openerOf(options: OpenerOptions = {}): KeyRingOpener {
  return new KeyRingOpener(master, options)
}

const withState = (key: StoredSigningKey, state: KeyState): StoredSigningKey => ({ ...key, state })

/** The same key with its private half under another root. */
function moveTo(target: RootKey, key: StoredSigningKey): StoredSigningKey {
  const pkcs8 = decryptPrivateKey(root, storeId, key.kid, key.encryptedPrivateKey)
  const encryptedPrivateKey = encryptPrivateKey(target, storeId, key.kid, pkcs8)
  return { ...key, encryptedPrivateKey, rootVersion: target.version }
}

describe('a ring that was opened', () => {
  it('verifies by each key that it publishes, made ready once, and by none other', async () => {
    const keys = await Promise.all([makeKey('active'), makeKey('staged', 'RS256'), makeKey('retiring')])
    const ring = await openerOf().open(materialOf(keys))
    for (const { kid, alg, state } of keys) {
      const verifying = ring.verifyingKey(kid)
      expect(verifying).toMatchObject({ kid, alg, state })
      expect(ring.verifyingKey(kid)).toBe(verifying)
    }
    expect(ring.verifyingKey('of-nobody')).toBeUndefined()
  })

  it('signs with the active key of each algorithm, and publishes active keys first, ES256 before RS256', async () => {
    const states = ['retiring', 'staged', 'active'] as const
    const keys = await Promise.all(
      states.flatMap((state) => [makeKey(state, 'RS256'), makeKey(state, 'ES256')] as const),
    )
    const ring = await openerOf().open(materialOf(keys))
    const kidOf = (alg: string, state: string) => keys.find((key) => key.alg === alg && key.state === state)?.kid
    for (const alg of ['ES256', 'RS256'] as const) {
      expect(ring.activeSigner(alg)).toMatchObject({ alg, kid: kidOf(alg, 'active') })
    }
    expect(ring.publicJwks().map(({ kid }) => kid)).toEqual([
      kidOf('ES256', 'active'),
      kidOf('RS256', 'active'),
      kidOf('ES256', 'retiring'),
      kidOf('ES256', 'staged'),
      kidOf('RS256', 'retiring'),
      kidOf('RS256', 'staged'),
    ])
    expect(ring.publicJwks()[0]).toEqual(keys.find(({ kid }) => kid === kidOf('ES256', 'active'))?.publicJwk)
  })

  it('lets a staged or retiring key step in for no active one, and says what to do', async () => {
    const ring = await openerOf().open(materialOf([await makeKey('staged'), await makeKey('retiring')]))
    expect(() => ring.activeSigner('ES256')).toThrow(
      expect.objectContaining({
        name: 'KeyMaterialError',
        message: 'no ES256 key is active in the database: put back a backup of it that has one',
      }),
    )
  })

  it('has what was stored of its clocks, and neither private halves nor roots among its keys', async () => {
    const ring = await openerOf().open(materialOf([await makeKey('active')]))
    expect(ring.mark).toEqual({ highWater: 1, running: 2, resets: 3 })
    expect(ring.keys[0]).not.toHaveProperty('encryptedPrivateKey')
    expect(ring.keys[0]).not.toHaveProperty('rootVersion')
    expect(new KeyRing([]).mark).toEqual({ highWater: 0, running: 0, resets: 0 })
  })

  it('makes new keys with the newest root that there is, whatever their order', async () => {
    for (const order of [roots, roots.toReversed()]) {
      const ring = await openerOf().open(materialOf([await makeKey('active')], order))
      expect(ring.root).toEqual({ storeId, root: newRoot })
    }
  })

  it.each([
    ['tickets', 'ticketKeys', 'refresh tickets'],
    ['nonces', 'nonceKeys', 'dpop nonces of the token endpoint'],
  ] as const)('has the keys of %s of each root that there is, by its version', async (_, name, label) => {
    const key = await makeKey('active')
    const opener = openerOf()
    for (const present of [roots, [root], roots]) {
      const { newestVersion, keyOf } = (await opener.open(materialOf([key], present)))[name]
      expect(newestVersion).toBe(present.length)
      for (const each of roots) {
        const derived = present.some(({ version }) => version === each.version) ? deriveKey(each, label) : undefined
        expect(keyOf(each.version)?.export()).toEqual(derived && Buffer.from(derived))
      }
    }
    expect(() => new KeyRing([])[name]).toThrow(/^the database has no root key$/)
  })

  it('makes no new keys without a root', async () => {
    const ring = await openerOf().open(materialOf([], []))
    expect(() => ring.root).toThrow(
      expect.objectContaining({ name: 'KeyMaterialError', message: 'the database has no root key' }),
    )
  })
})

describe('the opening of a ring', () => {
  it('hands out the signer that it opened before, for as long as the key is published', async () => {
    const [key, other] = [await makeKey('active'), await makeKey('staged')]
    const opener = openerOf()
    const first = (await opener.open(materialOf([key, other]))).keys
    const again = (await opener.open(materialOf([withState(key, 'retiring'), withState(other, 'active')]))).keys
    for (const { kid, signer } of first) expect(again.find((each) => each.kid === kid)?.signer).toBe(signer)
    await opener.open(materialOf([other]))
    const back = (await opener.open(materialOf([key]))).keys[0]
    expect(back?.signer).not.toBe(first.find(({ kid }) => kid === key.kid)?.signer)
  })

  it('F19 refuses a known key that is published under another public half', async () => {
    const [key, other] = [await makeKey('active'), await makeKey('active')]
    const opener = openerOf()
    await opener.open(materialOf([key]))
    await expect(opener.open(materialOf([{ ...key, publicJwk: other.publicJwk }]))).rejects.toThrow(/does not match/)
    await expect(openerOf().open(materialOf([{ ...key, publicJwk: other.publicJwk }]))).rejects.toThrow(
      KeyMaterialError,
    )
  })

  it('is refused by a key whose root is not there, which it names', async () => {
    const key = moveTo(newRoot, await makeKey('active'))
    await expect(openerOf().open(materialOf([key]))).rejects.toThrow(
      expect.objectContaining({ name: 'KeyMaterialError', message: 'root key 2 is not in the database' }),
    )
  })

  it('takes keys of several roots', async () => {
    const keys = [await makeKey('active'), moveTo(newRoot, await makeKey('staged'))]
    expect((await openerOf().open(materialOf(keys, roots))).keys).toHaveLength(2)
  })

  it('forgets a root that is gone: what comes back under its version is opened anew', async () => {
    const key = await makeKey('active')
    const opener = openerOf()
    await opener.open(materialOf([key], roots))
    expect((await opener.open(materialOf([key]))).root.root.version).toBe(1)
    const replaced = makeRootKey(2)
    const ring = await opener.open(materialOf([moveTo(replaced, await makeKey('active'))], [root, replaced]))
    expect(ring.root.root).toEqual(replaced)
  })
})

describe('the master key of a process', () => {
  it('is asked for no more once a root is open, so that it may be replaced', async () => {
    const key = await makeKey('active')
    const opener = openerOf()
    await opener.open(materialOf([key]))
    await expect(opener.open(materialOf([key], [root], otherMaster))).resolves.toBeInstanceOf(KeyRing)
  })

  it('is read again when it does not open a root, and then kept', async () => {
    const key = await makeKey('active')
    let reads = 0
    const rereadMasterKey = () => {
      reads += 1
      return otherMaster
    }
    const opener = openerOf({ rereadMasterKey })
    await opener.open(materialOf([key]))
    expect(reads).toBe(0)
    const ring = await opener.open(materialOf([key], roots, otherMaster))
    expect([ring.root.root, reads]).toEqual([newRoot, 1])
    const third = makeRootKey(3)
    expect((await opener.open(materialOf([key], [root, third], otherMaster))).root.root).toEqual(third)
    expect(reads).toBe(1)
  })

  it.each([
    ['is still the old one', () => master],
    ['is gone', () => undefined],
  ])('that %s refuses the ring', async (_, rereadMasterKey) => {
    const material = materialOf([await makeKey('active')], [root], otherMaster)
    for (const opener of [openerOf({ rereadMasterKey }), openerOf()])
      await expect(opener.open(material)).rejects.toMatchObject({
        name: 'KeyMaterialError',
        message:
          'the root key was replaced, and this process does not have the master key that opens it: put that where MAYFLY_MASTER_KEY_FILE of this process points, or restart it with the path',
        cause: { name: 'KeyMaterialError', message: expect.stringMatching(/cannot be decrypted/) },
      })
  })

  it('that was read again and opens nothing does not take the place of the one that does', async () => {
    const key = await makeKey('active')
    let next: Uint8Array = new Uint8Array(32).fill(3)
    const opener = openerOf({ rereadMasterKey: () => next })
    await expect(opener.open(materialOf([key], [root], otherMaster))).rejects.toThrow(KeyMaterialError)
    next = new Uint8Array(32).fill(4)
    await expect(opener.open(materialOf([key]))).resolves.toBeInstanceOf(KeyRing)
  })
})

describe('a signer that a hook watches', () => {
  /** Counts what is signed through the ring; the key itself is tested without it. */
  function watch(fails = false) {
    const wrapped: Signer[] = []
    const hook = (signer: Signer): Signer => {
      const hooked: Signer = {
        ...signer,
        sign: (input) => (fails ? Promise.reject(new Error('held up')) : signer.sign(input)),
      }
      wrapped.push(hooked)
      return hooked
    }
    return { wrapped, hook }
  }

  it('is the one that signs, wrapped once', async () => {
    const key = await makeKey('active')
    const { wrapped, hook } = watch()
    const opener = openerOf({ hook })
    const ring = await opener.open(materialOf([key]))
    expect(ring.activeSigner('ES256')).toBe(wrapped[0])
    await expect(selfTest(ring.activeSigner('ES256'), key.publicJwk)).resolves.toBeUndefined()
    expect((await opener.open(materialOf([key]))).activeSigner('ES256')).toBe(wrapped[0])
    expect(wrapped).toHaveLength(1)
  })

  it('is not asked when its key is tested, at the opening or when it begins to sign', async () => {
    const key = await makeKey('staged')
    const opener = openerOf({ hook: watch(true).hook })
    await opener.open(materialOf([key]))
    await expect(opener.open(materialOf([withState(key, 'active')]))).resolves.toBeInstanceOf(KeyRing)
  })
})

describe('the self-test of a known key', () => {
  /** A key that breaks, as one in a device may, once it was opened; and how often it was asked since. */
  function breakable() {
    const state = { asked: 0, isBroken: false }
    const hook = (signer: Signer): Signer => {
      const { sign } = signer
      return Object.assign(signer, {
        sign: (input: Uint8Array) => {
          state.asked += 1
          return state.isBroken ? Promise.reject(new Error('the device is away')) : sign(input)
        },
      })
    }
    return { state, hook }
  }

  it('is made when it begins to sign, and once', async () => {
    const key = await makeKey('staged')
    const { state, hook } = breakable()
    const opener = openerOf({ hook })
    for (const [to, asked] of [
      ['staged', 0],
      ['staged', 0],
      ['active', 1],
      ['active', 1],
      ['retiring', 1],
      ['active', 1],
    ] as const) {
      await opener.open(materialOf([withState(key, to)]))
      expect(state.asked).toBe(asked)
    }
  })

  it('is not made again for one that signed when it was opened', async () => {
    const key = await makeKey('active')
    const { state, hook } = breakable()
    const opener = openerOf({ hook })
    await opener.open(materialOf([key]))
    await opener.open(materialOf([key]))
    expect(state.asked).toBe(0)
  })

  it('F19 refuses the ring when it fails, and is made again the next time', async () => {
    const key = await makeKey('staged')
    const { state, hook } = breakable()
    const opener = openerOf({ hook })
    await opener.open(materialOf([key]))
    state.isBroken = true
    const activated = materialOf([withState(key, 'active')])
    await expect(opener.open(activated)).rejects.toThrow('the device is away')
    await expect(opener.open(activated)).rejects.toThrow('the device is away')
    state.isBroken = false
    await expect(opener.open(activated)).resolves.toBeInstanceOf(KeyRing)
  })
})
