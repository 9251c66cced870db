import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { IssuanceRecord } from '../../src/audit/event.ts'
import { makeRequestId, makeUlid, ulidMilliseconds } from '../../src/lib/id.ts'
import { WitnessUnavailable } from '../../src/lib/store-error.ts'
import { openStore } from '../../src/store/open-store.ts'
import type { Store } from '../../src/store/store.ts'
import { readWitness, Witness } from '../../src/store/witness.ts'
import { longestTokenLifeMilliseconds, nodeSkewMilliseconds } from '../../src/token/mark-store.ts'
import { cleanEnvironment, root, temporaryFolder } from '../support/process.ts'
import { makeFirstRing } from '../support/ring.ts'
import { createRandom, seed } from '../support/seed.ts'
import { addClient, addResource, api, ManualClock } from '../support/server.ts'

const storeId = '01ARYZ6S410000000000000000'
const by = 'cli:test'

const at = (registry: number, mark = 0, file = 0) => ({ registry, mark, file })
const read = (file: string): unknown => JSON.parse(readFileSync(file, 'utf8'))
const leftovers = (folder: string): string[] => readdirSync(folder).filter((name) => name.endsWith('.tmp'))

describe('the witness', () => {
  it('is made for its owner alone, folders too, and holds a store id with its two counters', async () => {
    const folder = join(temporaryFolder(), 'a')
    const file = join(folder, 'witness')
    await new Witness(file).raise(storeId, at(3, 1))
    expect(read(file)).toEqual({ [storeId]: { registry: 3, mark: 1, file: 0 } })
    expect([statSync(file).mode & 0o777, statSync(folder).mode & 0o777]).toEqual([0o600, 0o700])
    expect(leftovers(folder)).toEqual([])
  })

  it('only rises, counter by counter, whoever writes it', async () => {
    const file = join(temporaryFolder(), 'witness')
    const [one, two] = [new Witness(file), new Witness(file)]
    await one.raise(storeId, at(5, 1))
    await two.raise(storeId, at(2, 7))
    expect(read(file)).toEqual({ [storeId]: at(5, 7) })
    await one.raise(storeId, at(4, 4))
    expect(read(file)).toEqual({ [storeId]: at(5, 7) })
    await one.raise(storeId, at(1), { anew: true })
    expect(read(file)).toEqual({ [storeId]: at(5, 7) })
  })

  it('remembers the furthest that the file alone had come, and takes none for the first', async () => {
    const file = join(temporaryFolder(), 'witness')
    writeFileSync(file, `{"${storeId}": {"registry": 4, "mark": 1}}`)
    await new Witness(file).raise(storeId, at(4, 1, 3))
    expect(read(file)).toEqual({ [storeId]: at(4, 1, 3) })
    await new Witness(file).raise(storeId, at(9, 9, 2))
    expect(read(file)).toEqual({ [storeId]: at(9, 9, 3) })
  })

  it('keeps other stores apart', async () => {
    const file = join(temporaryFolder(), 'witness')
    await new Witness(file).raise('one', at(9, 9))
    await new Witness(file).raise('two', at(1, 1))
    expect(read(file)).toEqual({ one: at(9, 9), two: at(1, 1) })
  })

  it('is written once for all who come while a write is under way', async () => {
    const file = join(temporaryFolder(), 'witness')
    const witness = new Witness(file)
    const inodes = new Set<number>()
    const first = witness.raise(storeId, at(1)).then(() => inodes.add(statSync(file).ino))
    const rest = Array.from({ length: 50 }, async (_, i) => {
      await witness.raise(storeId, at(i + 2))
      inodes.add(statSync(file).ino)
    })
    await Promise.all([first, ...rest])
    expect(read(file)).toEqual({ [storeId]: at(51) })
    expect(inodes.size).toBeLessThanOrEqual(2)
  })

  it('removes what a killed writer left, and nothing that is not its own', async () => {
    const folder = temporaryFolder()
    const file = join(folder, 'witness')
    const kept = ['witness.tmp', 'witness.copy', 'master.key.0123456789ab.tmp', 'witness.0123456789ab.tmp.old']
    for (const name of [...kept, 'witness.0123456789ab.tmp']) writeFileSync(join(folder, name), 'x')
    await new Witness(file).raise(storeId, at(1))
    expect(readdirSync(folder).sort()).toEqual([...kept, 'witness'].sort())
  })

  it.each([
    ['nothing', ''],
    ['half of it', '{"01ARYZ6S410000000000000000": {"regis'],
    ['another kind of file', 'L9fP1b5ZbNCCq0pOQ5mS3H5x1bZ5g8s5D0ZBq5p2b3A\n'],
    ['a list', '[]'],
    ['a counter that is none', '{"a": {"registry": -1, "mark": 0}}'],
    ['a stamp that is none', '{"a": {"registry": 1, "mark": 0, "file": "x"}}'],
    ['a fraction', '{"a": {"registry": 1.5, "mark": 0}}'],
    ['one counter only', '{"a": {"registry": 1}}'],
    ['more members', '{"a": {"registry": 1, "mark": 0, "more": 1}}'],
    ['too much', `{"a": {"registry": 1, "mark": 0}}${' '.repeat(70_000)}`],
  ])('that holds %s is refused with a sentence, and never replaced', async (_, text) => {
    const file = join(temporaryFolder(), 'witness')
    writeFileSync(file, text)
    expect(() => readWitness(file)).toThrow(
      /^the witness \/.*witness does not hold what Mayfly writes there: .*move it/,
    )
    for (const anew of [false, true]) {
      const raised = new Witness(file).raise(storeId, at(1), { anew })
      await expect(raised).rejects.toBeInstanceOf(WitnessUnavailable)
    }
    expect(readFileSync(file, 'utf8')).toBe(text)
    expect(leftovers(join(file, '..'))).toEqual([])
  })

  it('that is a link is not taken for missing when the link leads nowhere', async () => {
    const folder = temporaryFolder()
    const file = join(folder, 'witness')
    symlinkSync(join(folder, 'not-mounted'), file)
    expect(() => readWitness(file)).toThrow(/cannot be read \(ENOENT\).*MAYFLY_WITNESS_FILE/)
    await expect(new Witness(file).raise(storeId, at(1))).rejects.toThrow(/cannot be read/)
  })

  it.each([
    ['its folder is a file', (folder: string) => writeFileSync(join(folder, 'keys'), ''), 'keys/witness'],
    ['a folder lies in its place', (folder: string) => mkdirSync(join(folder, 'witness')), 'witness'],
    ['nobody can write there', () => undefined, '../../../../../../../../proc/mayfly/witness'],
  ])('I23 is not said to be written when %s, and the sentence names the setting', async (_, prepare, place) => {
    const folder = temporaryFolder()
    prepare(folder)
    const witness = new Witness(join(folder, place))
    for (let i = 0; i < 2; i += 1) {
      const error = await witness.raise(storeId, at(1)).catch((thrown: unknown) => thrown)
      expect(error).toBeInstanceOf(WitnessUnavailable)
      expect(error).toMatchObject({ outcomeUnknown: true, message: expect.stringMatching(/MAYFLY_WITNESS_FILE/) })
    }
  })

  it('is written again when its place can be written again', async () => {
    const folder = temporaryFolder()
    const [file, blocked] = [join(folder, 'keys/witness'), join(folder, 'keys')]
    writeFileSync(blocked, '')
    const witness = new Witness(file)
    await expect(witness.raise(storeId, at(1))).rejects.toBeInstanceOf(WitnessUnavailable)
    rmSync(blocked)
    await witness.raise(storeId, at(1))
    expect(read(file)).toEqual({ [storeId]: at(1) })
  })

  it(`I4 never falls below what a writer was told, while processes write at once and are killed in between (seed ${seed})`, {
    timeout: 120_000,
  }, async () => {
    const random = createRandom()
    const folder = temporaryFolder()
    const file = join(folder, 'witness')
    const program = join(root, 'test/support/raise-for-ever.ts')
    let acknowledged = 0
    let fallen = 0
    let [writes, kills] = [0, 0]
    let going = true
    // Each writer goes up by itself from what was acknowledged, so that most of them are behind when they write.
    const writer = async (i: number): Promise<void> => {
      while (going) {
        const args = [program, file, storeId, String(acknowledged + 1 + i), String(1 + i)]
        const child = spawn(process.execPath, args, { env: cleanEnvironment(), stdio: ['ignore', 'pipe', 'inherit'] })
        child.stdout.setEncoding('utf8').on('data', (text: string) => {
          for (const line of text.split('\n').slice(0, -1)) {
            writes += 1
            acknowledged = Math.max(acknowledged, Number(line))
          }
        })
        await once(child.stdout, 'data')
        await pause(random.between(0, 400))
        child.kill('SIGKILL')
        await once(child, 'close')
        kills += 1
      }
    }
    const writers = [0, 1, 2].map(writer)
    const end = performance.now() + 12_000
    while (performance.now() < end) {
      const known = acknowledged
      if ((readWitness(file)?.get(storeId)?.registry ?? 0) < known) fallen += 1
      await pause(1)
    }
    going = false
    await Promise.all(writers)
    expect(fallen).toBe(0)
    expect(kills).toBeGreaterThan(5)
    expect(writes).toBeGreaterThan(kills)
    expect(readWitness(file)?.get(storeId)?.registry).toBeGreaterThanOrEqual(acknowledged)
    await new Witness(file).raise(storeId, at(acknowledged), { anew: true })
    expect(leftovers(folder)).toEqual([])
  })
})

interface Held {
  readonly file: string
  readonly place: string
  readonly clock: ManualClock
  readonly store: Store
  /** As the next process opens it. */
  open(options?: { tolerant: boolean }): Store
}

function opener(place: string, file: string, clock: ManualClock): Held['open'] {
  return (options) => {
    const store = openStore(place, { create: true, examine: false, clock, witness: { file, ...options } })
    onTestFinished(() => store.close())
    return store
  }
}

/** A claimed store with a resource and a client, and its witness beside it. */
async function hold(): Promise<Held> {
  const folder = temporaryFolder()
  const [file, place] = [join(folder, 'keys/witness'), join(folder, 'data/mayfly.db')]
  const clock = new ManualClock()
  const open = opener(place, file, clock)
  const store = open()
  await store.claimKeys(await makeFirstRing(storeId, { now: clock.nowMilliseconds(), staged: true }), 'server')
  await addResource(store)
  await addClient(store, 'billing')
  return { file, place, clock, store, open }
}

const standing = async (store: Store) => ({
  registry: await store.readRegistrySequence(),
  mark: await store.readMarkSequence(),
})

function issuance(clock: ManualClock): IssuanceRecord {
  const now = clock.nowMilliseconds()
  return {
    jti: makeUlid(now),
    clientId: 'billing',
    subject: 'billing',
    grantType: 'client_credentials',
    secretId: 'sec_0123456789abcdef',
    audience: api,
    kid: 'kid',
    expiresAt: Math.floor(now / 1000) + 300,
    requestId: makeRequestId(now),
    address: '127.0.0.1',
  }
}

const revocation = (jti: string) => ({
  type: 'token.revoked' as const,
  jti,
  clientId: 'billing',
  actor: by as 'cli:test',
})

/** Puts an old copy of the database in the place of the present one. */
async function goBack({ place, store }: Held, change: (store: Store) => Promise<unknown>): Promise<void> {
  const copy = `${place}.copy`
  await store.backup(copy)
  await change(store)
  await store.close()
  for (const end of ['', '-wal', '-shm']) rmSync(`${place}${end}`, { force: true })
  copyFileSync(copy, place)
}

/** Another process opens the store, does something, and is killed. */
async function killAfter({ place, file }: Held, statements: (name: string) => readonly string[]): Promise<void> {
  const program = [
    `import { openStore } from ${JSON.stringify(join(root, 'src/store/open-store.ts'))}`,
    `const store = openStore('${place}', { create: false, examine: false, witness: { file: '${file}' } })`,
    ...statements('store'),
    `console.log('done')`,
    'setInterval(() => store.location, 1000)',
  ].join('\n')
  const args = ['--input-type=module', '-e', program]
  const child = spawn(process.execPath, args, { env: cleanEnvironment(), stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child.stdout, 'data')
  child.kill('SIGKILL')
  await once(child, 'close')
}

describe('a store beside its witness', () => {
  it('has told it of each change before the change is answered, and of no token', async () => {
    const held = await hold()
    const { store, file, clock } = held
    expect(read(file)).toMatchObject({ [storeId]: await standing(store) })
    const record = issuance(clock)
    const before = statSync(file).ino
    await store.recordIssuance(record, await store.readRegistrySequence())
    await store.checkWritable()
    expect(statSync(file).ino).toBe(before)
    await store.setClientStatus('billing', 'disabled', by)
    expect(read(file)).toMatchObject({ [storeId]: await standing(store) })
    await store.revokeToken({ expiresAt: clock.nowMilliseconds() + 300_000 }, revocation(record.jti))
    expect(read(file)).toMatchObject({ [storeId]: await standing(store) })
    expect((await standing(store)).mark).toBe(1)
  })

  it('tells it once of all changes of one commit', async () => {
    const { store, file, clock } = await hold()
    const inodes = new Set<number>([statSync(file).ino])
    const expiresAt = clock.nowMilliseconds() + 300_000
    await Promise.all(
      Array.from({ length: 100 }, async (_, i) => {
        await store.revokeToken({ expiresAt }, revocation(`token-${i}`))
        inodes.add(statSync(file).ino)
      }),
    )
    expect(read(file)).toMatchObject({ [storeId]: { mark: 100 } })
    expect(inodes.size).toBeLessThanOrEqual(3)
  })

  it('I23 answers no change with success while it cannot tell it, though the change is in force, and issues on', async () => {
    const held = await hold()
    const { store, file, clock } = held
    const folder = join(file, '..')
    rmSync(folder, { recursive: true })
    writeFileSync(folder, '')
    const disable = () => store.setClientStatus('billing', 'disabled', by)
    await expect(disable()).rejects.toBeInstanceOf(WitnessUnavailable)
    expect((await store.findClient('billing')).value?.status).toBe('disabled')
    await expect(disable(), 'again, when nothing is left to change').rejects.toBeInstanceOf(WitnessUnavailable)
    await expect(store.confirmWitness()).rejects.toBeInstanceOf(WitnessUnavailable)
    expect(await store.recordIssuance(issuance(clock), await store.readRegistrySequence())).toBe('recorded')
    await expect(store.updateResource('urn:no', {}, by)).rejects.toMatchObject({ code: 'unknown' })
    rmSync(folder)
    await disable()
    expect(read(file)).toMatchObject({ [storeId]: await standing(store) })
  })

  it('closes only when the changes that are under way are answered', async () => {
    const { store, file } = await hold()
    const changed = store.setClientStatus('billing', 'disabled', by)
    await store.close()
    await changed
    expect(read(file)).toMatchObject({ [storeId]: { registry: 4 } })
  })

  it.each([
    ['a change', (store: Store) => store.setClientStatus('billing', 'disabled', by), [3, 0, 4, 0]],
    [
      'a mark only',
      (store: Store) => store.revokeToken({ expiresAt: Number.MAX_SAFE_INTEGER }, revocation('jti')),
      [3, 0, 3, 1],
    ],
  ] as const)(
    'F13 is refused when it is behind by %s, and the sentence names both ways on',
    async (_, change, counters) => {
      const held = await hold()
      await goBack(held, change)
      const [has, hasMark, knows, knowsMark] = counters
      expect(() => held.open()).toThrow(
        new RegExp(
          `is an older copy .*change ${has} and mark ${hasMark}, .*remembers ${knows} and ${knowsMark}, .*mayfly db restore FILE.*mayfly db restore --accept-current`,
        ),
      )
      const store = held.open({ tolerant: true })
      expect(store.doubt).toContain('is an older copy')
      expect((await store.findClient('billing')).value?.status).toBe('active')
      expect(await store.listAudit({ limit: 10 })).not.toEqual([])
      await store.backup(`${held.place}.again`)
      const changes = [
        () => store.setClientStatus('billing', 'disabled', by),
        () => store.revokeToken({ expiresAt: 1 }, revocation('x')),
        () => store.resetCalendar(1, by),
      ]
      for (const run of changes) await expect(run()).rejects.toThrow(/is an older copy/)
      expect(await standing(store)).toEqual({ registry: has, mark: hasMark })
    },
  )

  it.each([false, true])(
    'F13 is refused beside the -wal of a later one, which no command opens (tolerant: %s)',
    async (tolerant) => {
      const held = await hold()
      await held.store.close()
      const copy = `${held.place}.copy`
      copyFileSync(held.place, copy)
      // What is lost goes into the file, and the -wal that is left begins after it: counters and all else in it are the latest.
      await killAfter(held, (name) => [
        `await ${name}.offboardClient('billing', 'cli:test')`,
        `await ${name}.checkWritable()`,
        `await ${name}.updateResource('${api}', { name: 'later' }, 'cli:test')`,
      ])
      copyFileSync(copy, held.place)
      const bytes = [held.place, `${held.place}-wal`].map((path) => readFileSync(path))
      expect(() => held.open({ tolerant })).toThrow(/is an older copy .* beside the .*-wal of a later one/)
      expect([held.place, `${held.place}-wal`].map((path) => readFileSync(path))).toEqual(bytes)
      rmSync(`${held.place}-wal`)
      expect(() => held.open()).toThrow(/is an older copy of the database: it has come to/)
    },
  )

  it('is opened with the -wal of its own that a killed process left, wherever it was killed', {
    timeout: 60_000,
  }, async () => {
    const held = await hold()
    await held.store.close()
    for (let i = 0; i < 6; i += 1) {
      await killAfter(held, (name) => [
        `for (let n = 0; n < ${i}; n += 1) await ${name}.updateResource('${api}', { name: 'n' + n }, 'cli:test')`,
        `await ${name}.checkWritable()`,
        `void ${name}.updateResource('${api}', { name: 'last' }, 'cli:test')`,
        `await new Promise((resolve) => setTimeout(resolve, ${i}))`,
      ])
      await held.open().close()
    }
  })

  it('F13 is refused before it is brought up to date', async () => {
    const held = await hold()
    await goBack(held, (store) => store.setClientStatus('billing', 'disabled', by))
    const sqlite = new Database(held.place)
    sqlite.exec('DELETE FROM migration WHERE position >= 3')
    expect(() => held.open()).toThrow(/is an older copy/)
    expect(sqlite.prepare('SELECT count(*) FROM migration').pluck().get()).toBe(3)
    sqlite.close()
  })

  it('is opened beside the witness of another store, and gets an entry of its own', async () => {
    const held = await hold()
    const clock = new ManualClock()
    const other = opener(`${held.place}.other`, held.file, clock)()
    await other.claimKeys(await makeFirstRing('other', { now: 1, staged: true }), 'server')
    expect(read(held.file)).toMatchObject({ [storeId]: await standing(held.store), other: { registry: 1, mark: 0 } })
  })

  it('is opened without one, and makes it when it is asked to', async () => {
    const held = await hold()
    rmSync(held.file)
    const store = held.open()
    expect(store.doubt).toBeUndefined()
    await store.confirmWitness()
    expect(read(held.file)).toMatchObject({ [storeId]: await standing(store) })
  })

  it('is opened when it is ahead of it: whoever died between commit and witness had told nobody', async () => {
    const held = await hold()
    const unwitnessed = openStore(held.place, { create: false, examine: false, clock: held.clock })
    await unwitnessed.setClientStatus('billing', 'disabled', by)
    await unwitnessed.close()
    await held.open().setClientStatus('billing', 'disabled', by)
    expect(read(held.file)).toMatchObject({ [storeId]: { registry: 4 } })
  })

  it('is refused, and read alone, beside a witness that holds something else', async () => {
    const held = await hold()
    writeFileSync(held.file, 'garbage')
    expect(() => held.open()).toThrow(/does not hold what Mayfly writes/)
    const store = held.open({ tolerant: true })
    expect((await store.findClient('billing')).value?.status).toBe('active')
    await expect(store.setClientStatus('billing', 'disabled', by)).rejects.toThrow(/does not hold what Mayfly writes/)
    expect(readFileSync(held.file, 'utf8')).toBe('garbage')
  })

  it('does not look old to a process that opens it while others change it', { timeout: 60_000 }, async () => {
    const held = await hold()
    let going = true
    const changes = (async () => {
      for (let i = 0; going; i += 1) await held.store.updateResource(api, { name: `n${i}` }, by)
    })()
    for (let i = 0; i < 200; i += 1) {
      const store = openStore(held.place, { create: false, examine: false, witness: { file: held.file } })
      await store.close()
      await pause(0)
    }
    going = false
    await changes
  })

  it('F13 accepted as the present, is beyond its witness, has ended all that was issued, and says so in the trail', async () => {
    const held = await hold()
    await goBack(held, (store) => store.setClientStatus('billing', 'disabled', by))
    const record = issuance(held.clock)
    const store = held.open({ tolerant: true })
    await store.recordIssuance(record, 3)
    held.clock.step(-60)
    const known = { registry: 40, mark: 7, issuedUpTo: 0 }
    const accepted = await store.acceptAsPresent(known, by)
    const dated = ulidMilliseconds(record.jti)
    expect(accepted).toEqual({
      storeId,
      from: { registry: 3, mark: 0 },
      to: { registry: 41, mark: 8 },
      tokensAfter: dated + nodeSkewMilliseconds,
    })
    expect(await standing(store)).toEqual(accepted.to)
    expect(read(held.file)).toMatchObject({ [storeId]: accepted.to })
    expect(await store.readRegistryHead()).toMatchObject({ tokensAfter: accepted.tokensAfter })
    expect(store.doubt).toBeUndefined()
    const [entry] = await store.listAudit({ type: 'store.restored', limit: 2 })
    const { storeId: _, ...detail } = accepted
    expect(entry).toMatchObject({ storeId, actor: by, detail })
    await store.setClientStatus('billing', 'disabled', by)
    held.open()
  })

  it('is accepted at a later moment when tokens are known that are dated later', async () => {
    const { store, clock } = await hold()
    const issuedUpTo = clock.nowMilliseconds() + 60_000
    expect(await store.acceptAsPresent({ registry: 0, mark: 0, issuedUpTo }, by)).toMatchObject({
      from: { registry: 3, mark: 0 },
      to: { registry: 4, mark: 1 },
      tokensAfter: issuedUpTo,
    })
  })

  it('is accepted no later than any token lives, however far ahead a clock had dated one', async () => {
    const { store, clock } = await hold()
    const issuedUpTo = clock.nowMilliseconds() + 14 * 365 * 86_400_000
    expect(await store.acceptAsPresent({ registry: 0, mark: 0, issuedUpTo }, by)).toMatchObject({
      tokensAfter: clock.nowMilliseconds() + longestTokenLifeMilliseconds,
    })
  })
})
