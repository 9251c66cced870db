import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { readMasterKey } from '../../src/key/master-key-file.ts'
import { checkMasterKey } from '../../src/key/provision.ts'
import { KeyRingOpener } from '../../src/key/ring.ts'
import { openStore } from '../../src/store/open-store.ts'
import type { Store } from '../../src/store/store.ts'
import { cleanEnvironment, launcher, mayfly, mayflyJson, temporaryFolder } from '../support/process.ts'
import { requireTools, run } from '../support/tools.ts'

beforeAll(() => requireTools('mount', 'umount', 'strace'))

const calls = ['pwrite64', 'fsync', 'linkat', 'link', 'unlink'] as const
const mostOfEach = 8
const patience = 240_000

async function install(): Promise<string> {
  const cwd = temporaryFolder()
  await mayflyJson(['db', 'migrate'], { cwd })
  return cwd
}

/** Runs a command that is killed as it enters a system call for the nth time. @returns whether it got that far */
function killAt(call: string, nth: number, args: readonly string[], cwd: string): boolean {
  const inject = ['-e', `inject=${call}:signal=SIGKILL:when=${nth}`]
  const { status, signal } = spawnSync(
    'strace',
    ['-f', '-qq', '-o', join(cwd, 'trace'), ...inject, process.execPath, launcher, ...args],
    { cwd, env: cleanEnvironment(), timeout: 60_000, stdio: 'ignore' },
  )
  return signal === 'SIGKILL' || status === 137
}

async function withStore<T>(cwd: string, use: (store: Store) => Promise<T>): Promise<T> {
  const store = openStore(join(cwd, 'data/mayfly.db'), { create: false, examine: true })
  try {
    expect(await store.check()).toEqual([])
    return await use(store)
  } finally {
    await store.close()
  }
}

/** Which of two master key files opens the whole ring. */
function opens(cwd: string, files: readonly string[]): Promise<readonly string[]> {
  return withStore(cwd, async (store) => {
    const material = await store.readKeys()
    if (material === undefined) throw new Error('no keys')
    const able: string[] = []
    for (const file of files) {
      const master = readMasterKey(join(cwd, file))
      if (master === undefined) continue
      try {
        const ring = await new KeyRingOpener(checkMasterKey(master, material, file)).open(material)
        if (ring.keys.length === 4) able.push(file)
      } catch {
        // The other one opens it, which is what the caller looks at.
      }
    }
    return able
  })
}

describe('F18 a kill while the master key is replaced', () => {
  it.each(calls)(
    'at %s leaves the old one or the new one in force, and the command can be run again',
    async (call) => {
      const [before, after] = ['keys/master.key', 'keys/next.key']
      const cwd = await install()
      let kills = 0
      for (let nth = 1; nth <= mostOfEach; nth += 1) {
        const killed = killAt(call, nth, ['key', 'rewrap', '--new-master-key', after], cwd)
        const able = await opens(cwd, [before, after])
        expect(able, `${call} ${nth}`).toHaveLength(1)
        if (able[0] === before) await mayflyJson(['key', 'rewrap', '--new-master-key', after], { cwd })
        expect(await opens(cwd, [before, after])).toEqual([after])
        renameSync(join(cwd, after), join(cwd, before))
        if (!killed) break
        kills += 1
      }
      // Which of the two links is called differs between machines.
      if (!call.startsWith('link')) expect(kills).toBeGreaterThan(0)
    },
    patience,
  )
})

describe('F18 a kill while keys are rotated', () => {
  it.each(['pwrite64', 'fsync'] as const)(
    'at %s leaves the ring of before or of after, whole',
    async (call) => {
      const cwd = await install()
      const read = () =>
        withStore(cwd, async (store) =>
          (await store.listKeys()).filter((key) => key.alg === 'ES256').map(({ kid, state }) => `${state} ${kid}`),
        )
      let kills = 0
      for (let nth = 1; nth <= mostOfEach; nth += 1) {
        const ring = await read()
        const killed = killAt(call, nth, ['key', 'activate', '--alg', 'ES256', '--allow-unverifiable-tokens'], cwd)
        const now = await read()
        const rotated = now.length === ring.length + 1
        const states = now.map((key) => key.split(' ')[0])
        expect(states.filter((state) => state === 'active')).toHaveLength(1)
        expect(states.filter((state) => state === 'staged')).toHaveLength(1)
        if (rotated) expect(now).toContain(ring.find((key) => key.startsWith('staged'))?.replace('staged', 'active'))
        else expect(now).toEqual(ring)
        if (!killed) break
        kills += 1
      }
      expect(kills).toBeGreaterThan(0)
      expect((await mayfly(['key', 'list'], { cwd })).code).toBe(0)
    },
    patience,
  )
})

describe('F06 a full disk under the keys', () => {
  it('refuses a new master key with one sentence, leaves no short file, and the old one in force', async () => {
    const cwd = await install()
    const full = join(cwd, 'full')
    mkdirSync(full)
    run('mount', '-t', 'tmpfs', '-o', 'size=4k', 'tmpfs', full)
    onTestFinished(() => void run('umount', '-l', full))
    expect(() => run('dd', 'if=/dev/zero', `of=${join(full, 'ballast')}`, 'bs=4096')).toThrow()
    const { code, stdout, stderr } = await mayfly(['key', 'rewrap', '--new-master-key', 'full/next.key'], { cwd })
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toMatch(/^error: the master key .*next\.key cannot be written[^\n]*\n$/)
    expect(readdirSync(full)).toEqual(['ballast'])
    expect(await opens(cwd, ['keys/master.key'])).toEqual(['keys/master.key'])
  })

  it('refuses a first start with one sentence, and makes neither a short key nor a ring', async () => {
    const cwd = temporaryFolder()
    const full = join(cwd, 'keys')
    mkdirSync(full)
    run('mount', '-t', 'tmpfs', '-o', 'size=4k', 'tmpfs', full)
    onTestFinished(() => void run('umount', '-l', full))
    expect(() => run('dd', 'if=/dev/zero', `of=${join(full, 'ballast')}`, 'bs=4096')).toThrow()
    const { code, stderr } = await mayfly(['serve'], { cwd, env: { MAYFLY_PORT: '0' } })
    expect(code).toBe(1)
    expect(stderr).toMatch(/^error: the master key .*master\.key cannot be written/)
    expect(existsSync(join(full, 'master.key'))).toBe(false)
    expect(await withStore(cwd, (store) => store.readKeys())).toBeUndefined()
  })
})
