/** An installation without a server: a real database with keys, the resource `api`, one client, and what issues tokens. */
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, onTestFinished } from 'vitest'
import { provisionKeys } from '../../src/key/provision.ts'
import { type KeyRing, KeyRingOpener } from '../../src/key/ring.ts'
import type { Clock } from '../../src/lib/clock.ts'
import { makeRequestId } from '../../src/lib/id.ts'
import { openStore } from '../../src/store/open-store.ts'
import type { Store } from '../../src/store/store.ts'
import { type Fence, TokenIssuer, type TokenOrder, type TokenSettings } from '../../src/token/issue.ts'
import { type RefreshSettings, RefreshTickets } from '../../src/token/refresh.ts'
import { ManualClock } from './clock.ts'
import { temporaryFolder } from './process.ts'
import { addClient, addResource, api } from './registry.ts'
import { defaultTiming } from './ring.ts'

export const tokenSettings: TokenSettings = {
  issuer: 'https://tokens.example.test',
  signingAlg: 'ES256',
  accessTokenTtlSeconds: 300,
  accessTokenMaxTtlSeconds: 3_600,
}

export const refreshSettings: RefreshSettings = {
  refreshTokenIdleTtlSeconds: 3_600,
  refreshTokenMaxTtlSeconds: 86_400,
  refreshRetryWindowSeconds: 60,
}

/** What makes refresh tickets on a store. */
export function ticketsOn(store: Store, clock: Clock): RefreshTickets {
  return new RefreshTickets(refreshSettings, store, clock)
}

export interface TestIssuer {
  readonly clock: ManualClock
  readonly store: Store
  readonly ring: KeyRing
  readonly opener: KeyRingOpener
  readonly tokens: TokenIssuer
  /** What the client may have: a token of `api` with both its scopes. */
  order(changes?: Partial<TokenOrder>): TokenOrder
  fence(): Promise<Fence>
}

let template: Promise<string> | undefined

afterAll(async () => {
  if (template !== undefined) rmSync(await template, { recursive: true, force: true })
  template = undefined
})

// Making RSA keys takes longer than most tests, so each file makes one installation and copies it.
async function makeTemplate(): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'mayfly-template-'))
  const clock = new ManualClock()
  const store = openStore(join(folder, 'mayfly.db'), { create: true, examine: false, clock })
  await provisionKeys(store, join(folder, 'master.key'), defaultTiming, clock)
  await store.setIssuer(tokenSettings.issuer, 'server', { replace: false })
  await addResource(store)
  await addClient(store, 'billing')
  await store.close()
  return folder
}

/** Opens a fresh copy of the installation; it is closed with the test. */
export async function startTestIssuer(): Promise<TestIssuer> {
  template ??= makeTemplate()
  const folder = temporaryFolder()
  cpSync(await template, folder, { recursive: true })
  const clock = new ManualClock()
  const store = openStore(join(folder, 'mayfly.db'), { create: false, examine: false, clock })
  onTestFinished(() => store.close())
  const { masterKey } = await provisionKeys(store, join(folder, 'master.key'), defaultTiming, clock)
  const material = await store.readKeys()
  const client = (await store.findClient('billing')).value
  const audience = (await store.findResource(api)).value
  const secretId = client?.secrets[0]?.secretId
  if (material === undefined || client === undefined || audience === undefined || secretId === undefined) {
    throw new Error('the registry is empty')
  }
  const opener = new KeyRingOpener(masterKey)
  const ring = await opener.open(material)
  return {
    clock,
    store,
    ring,
    opener,
    tokens: new TokenIssuer(tokenSettings, store, ticketsOn(store, clock), clock),
    order: (changes) => ({
      client,
      credentialId: secretId,
      uses: [],
      grantType: 'client_credentials',
      subject: 'billing',
      audience,
      scopes: ['read', 'write'],
      origin: { requestId: makeRequestId(clock.nowMilliseconds()), address: '192.0.2.1' },
      ...changes,
    }),
    fence: async () => ({
      sequence: await store.readRegistrySequence(),
      ticketKeys: ring.ticketKeys,
      tokensAfter: 0,
      activeSigner: (alg) => ring.activeSigner(alg),
    }),
  }
}
