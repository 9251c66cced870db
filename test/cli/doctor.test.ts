import { chmodSync, linkSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, it } from 'vitest'
import { prepareApp } from '../../src/app/prepare.ts'
import type { Finding } from '../../src/cli/doctor-checks.ts'
import { checkWorkers } from '../../src/cli/doctor-workers.ts'
import { generateSecret } from '../../src/client/client-secret.ts'
import { parseSettings } from '../../src/config/settings.ts'
import { silentLog } from '../../src/lib/log.ts'
import { Secret } from '../../src/lib/secret.ts'
import { type Finished, mayfly, mayflyJson, temporaryFolder } from '../support/process.ts'
import { addClient, addResource, getToken, ManualClock, startTestServer, type TestServer } from '../support/server.ts'

const hour = 3_600_000

async function examine(
  server: TestServer,
  ...args: string[]
): Promise<{ ended: Finished; findings: readonly Finding[] }> {
  const ended = await mayfly(['doctor', '--json', ...args], { cwd: server.folder })
  return { ended, findings: ended.stdout === '' ? [] : (JSON.parse(ended.stdout) as Finding[]) }
}

function change({ folder }: TestServer, statement: string): void {
  const sqlite = new Database(join(folder, 'data/mayfly.db'))
  sqlite.exec(statement)
  sqlite.close()
}

const about = (findings: readonly Finding[], check: Finding['check']): readonly Finding[] =>
  findings.filter((finding) => finding.check === check)

describe('doctor', () => {
  it('finds all well beside a running server', async () => {
    const server = await startTestServer()
    await addResource(server.store)
    await getToken(server, await addClient(server.store, 'billing'))
    const { ended, findings } = await examine(server)
    expect(findings.filter((finding) => finding.status !== 'ok')).toEqual([])
    expect([ended.code, ended.stderr]).toEqual([0, ''])
    expect(new Set(findings.map((finding) => finding.check)).size).toBe(11)
    expect(about(findings, 'size')[0]?.detail).toMatch(/^1 tokens in the last day/)
  })

  it('finds more workers than the machine has cores, and none too many', async () => {
    const server = await startTestServer()
    const { stdout } = await mayfly(['doctor', '--json'], { cwd: server.folder, env: { MAYFLY_WORKERS: '64' } })
    expect(about(JSON.parse(stdout) as Finding[], 'workers')).toEqual([
      {
        check: 'workers',
        status: 'warning',
        detail: expect.stringMatching(/^64 on a machine with [0-9]+ cores/) as string,
      },
    ])
    expect(checkWorkers({ workers: 4, postgresUrl: new Secret('postgres://x') }, 4)).toMatchObject([{ status: 'ok' }])
    expect(checkWorkers({ workers: 4 }, 4)).toMatchObject([
      { status: 'ok', detail: expect.stringContaining('one writes at a time') as string },
    ])
  })

  it('finds files that others can read, and says how to close them', async () => {
    const server = await startTestServer()
    const database = join(server.folder, 'data/mayfly.db')
    chmodSync(database, 0o644)
    const { findings } = await examine(server)
    expect(about(findings, 'files')).toContainEqual(
      expect.objectContaining({
        status: 'warning',
        detail: expect.stringContaining(`chmod go= ${database}`) as string,
      }),
    )
  })

  it('finds what a killed process has left of a master key, and nothing else', async () => {
    const server = await startTestServer()
    const left = join(server.folder, 'keys/master.key.0123456789ab.tmp')
    linkSync(join(server.folder, 'keys/master.key'), left)
    writeFileSync(join(server.folder, 'keys/notes.tmp'), '')
    const { ended, findings } = await examine(server)
    expect(ended.code).toBe(0)
    expect(about(findings, 'files')).toMatchObject([
      {
        status: 'warning',
        detail: `${left} was left by a process that was killed, and may hold the master key: remove it`,
      },
    ])
  })

  it('ends with 1 when the master key is missing', async () => {
    const server = await startTestServer()
    rmSync(join(server.folder, 'keys/master.key'))
    const { ended, findings } = await examine(server)
    expect(ended.code).toBe(1)
    expect(about(findings, 'master key')).toMatchObject([
      { status: 'fault', detail: expect.stringContaining('is missing') },
    ])
  })

  it('finds an issuer that does not answer', async () => {
    const server = await startTestServer()
    await server.stop()
    const { ended, findings } = await examine(server)
    expect(ended.code).toBe(0)
    expect(about(findings, 'issuer')).toMatchObject([
      { status: 'warning', detail: expect.stringContaining('cannot be reached') },
    ])
  })

  it('finds an issuer that publishes other keys than those of the database', async () => {
    const server = await startTestServer()
    // A folder of its own: those of one test file are copies of one installation.
    const other = await startTestServer({ folder: temporaryFolder(), env: { MAYFLY_ISSUER: server.issuer } })
    const { ended, findings } = await examine(other)
    expect(ended.code).toBe(1)
    expect(about(findings, 'issuer')).toMatchObject([
      { status: 'fault', detail: expect.stringContaining('does not publish') },
    ])
  })

  it('finds secrets that end soon, unless another lives longer', async () => {
    const server = await startTestServer()
    await addResource(server.store)
    const day = 86_400_000
    for (const [clientId, hasOther] of [
      ['alone', false],
      ['pair', true],
    ] as const) {
      await addClient(server.store, clientId)
      const { secrets } = (await server.store.findClient(clientId)).value ?? { secrets: [] }
      const { secretId, sha256 } = generateSecret()
      const ending = { kind: 'generated' as const, secretId, sha256, expiresAt: Date.now() + day }
      await server.store.createSecret(clientId, ending, 'cli:test')
      if (!hasOther && secrets[0]) await server.store.revokeSecret(clientId, secrets[0].secretId, 'cli:test')
    }
    const { findings } = await examine(server)
    expect(
      about(findings, 'secrets').map(({ status, detail }) => [status, / of (\w+) ends/.exec(detail)?.[1]]),
    ).toEqual([
      ['warning', 'alone'],
      ['ok', 'pair'],
    ])
  })

  it('finds a rotation that is late and why', async () => {
    const server = await startTestServer()
    change(server, `UPDATE signing_key SET activated_at = activated_at - 40 * 24 * ${hour}`)
    const { findings } = await examine(server)
    expect(about(findings, 'signing keys')[0]).toMatchObject({
      status: 'warning',
      detail: expect.stringMatching(
        /should have stopped signing .* ago; the staged key .* must be published for .* more/,
      ),
    })
  })

  it('finds a calendar that a wrong clock drove into the future, and sets it back, also in a running server', async () => {
    const server = await startTestServer()
    change(server, `UPDATE ring_mark SET high_water = ${Date.now() + 1000 * 24 * hour}`)
    const found = await examine(server)
    expect(found.ended.code).toBe(1)
    expect(about(found.findings, 'clock')).toMatchObject([
      { status: 'fault', detail: expect.stringContaining('behind') },
    ])
    expect((await examine(server, '--reset-calendar')).ended.code).toBe(0)
    const after = await examine(server)
    expect([after.ended.code, about(after.findings, 'clock')[0]?.status]).toEqual([0, 'ok'])
    const again = await examine(server, '--reset-calendar')
    expect(again.ended).toMatchObject({ code: 1, stdout: '' })
    expect(again.ended.stderr).toContain('nothing was changed')
  })

  it('finds a first start whose clock was ahead, however soon it was killed, and sets its keys back', async () => {
    const cwd = temporaryFolder()
    const clock = new ManualClock(Date.now() + 5000 * 24 * hour)
    const prepared = await prepareApp(parseSettings({}, cwd), { log: silentLog, clock })
    await prepared.close()
    const found = await mayfly(['doctor', '--json'], { cwd })
    expect(found.code).toBe(1)
    expect(found.stdout).toMatch(/behind what the database has seen/)
    expect((await mayfly(['doctor', '--reset-calendar', '--yes'], { cwd })).code).toBe(0)
    const keys = await mayflyJson<{ published_at: string }[]>(['key', 'list'], { cwd })
    for (const key of keys) expect(Date.parse(key.published_at)).toBeLessThanOrEqual(Date.now())
  })

  it('refuses where there is no database', async () => {
    const server = await startTestServer()
    const ended = await mayfly(['doctor'], { cwd: join(server.folder, 'keys') })
    expect(ended).toMatchObject({ code: 1, stdout: '' })
    expect(ended.stderr).toContain('there is no database at')
  })
})
