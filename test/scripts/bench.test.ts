import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { exportPKCS8, generateKeyPair, jwtVerify } from 'jose'
import { describe, expect, it, onTestFinished } from 'vitest'
import { freshRequest, JwtPool, withJwt } from '../../scripts/bench/fresh-jwt.ts'
import { compareRanks, median, quantile, randomFrom, shuffle, slope } from '../../scripts/bench/statistics.ts'
import { cleanEnvironment, finish, root, temporaryFolder } from '../support/process.ts'

/** Starts the benchmark with a folder of its own for what it writes. */
function startBench(...args: string[]) {
  const scratch = temporaryFolder()
  const child = spawn(process.execPath, [join(root, 'scripts/bench.ts'), ...args], {
    cwd: scratch,
    env: cleanEnvironment({ TMPDIR: scratch }),
    stdio: 'pipe',
  })
  onTestFinished(() => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM')
  })
  return { child, scratch, finished: finish(child) }
}

interface Report {
  readonly seed: number
  readonly machine: object
  readonly results: readonly {
    readonly scenario: string
    readonly rows: readonly Record<string, unknown>[]
    readonly goals: readonly { readonly goal: string; readonly value: number; readonly met: boolean }[]
  }[]
}

function childrenOf(pid: number): string[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean)
}

describe('the benchmark', () => {
  it('runs a short round, and prints one JSON document', { timeout: 300_000 }, async () => {
    const args = ['--only', 'jwks', '--seconds', '0.2', '--rounds', '1', '--seed', '7', '--json']
    const { scratch, finished } = startBench(...args)
    const { code, stdout, stderr } = await finished
    expect(code, stderr).toBe(0)
    const { seed, machine, results } = JSON.parse(stdout) as Report
    expect(seed).toBe(7)
    expect(stderr).toContain('seed 7')
    expect(machine).toMatchObject({ node: process.versions.node, cores: expect.any(Number) })
    expect(results.map(({ scenario }) => scenario)).toEqual(['jwks'])
    const [{ rows = [], goals = [] } = {}] = results
    expect(rows.map(({ program }) => program)).toEqual(['Mayfly', 'oidc-provider, memory', 'bare HTTP GET'])
    for (const row of rows) {
      for (const figure of ['requests/s', 'p50 ms', 'p99 ms', 'CPU µs/request', 'memory MB', 'peak MB'])
        expect(row[figure], figure).toSatisfy((value: unknown) => typeof value === 'number' && value > 0)
    }
    expect(goals).toEqual([
      { goal: 'at least 2.5 × oidc-provider', value: expect.any(Number), met: expect.any(Boolean) },
    ])
    expect(readdirSync(scratch)).toEqual([])
  })

  it('ends its servers and removes its folders at Ctrl-C', { timeout: 120_000 }, async () => {
    const { child, scratch, finished } = startBench('--only', 'jwks')
    const children = await new Promise<string[]>((resolve, reject) => {
      child.stderr.on('data', (text: Buffer) => {
        // Mayfly runs by then, and so does the load generator.
        if (text.includes('starting oidc-provider')) resolve(childrenOf(child.pid ?? 0))
      })
      finished.then(({ stderr }) => reject(new Error(stderr)))
    })
    expect(children.length).toBeGreaterThan(1)
    child.kill('SIGINT')
    expect(await finished).toMatchObject({ code: 130 })
    expect(readdirSync(scratch)).toEqual([])
    await expect.poll(() => children.filter((pid) => existsSync(`/proc/${pid}`)), { timeout: 60_000 }).toEqual([])
  })

  it.each([
    ['an unknown scenario, and names the known ones', ['--only', 'speed'], /'speed'.* es256, rs256.* memory, or all/],
    ['an unknown option, and shows those that there are', ['--fast'], /--fast.*--only NAME/],
    ['a number that is none', ['--seconds', 'soon'], /--seconds takes a number from 0\.1 to 60, not 'soon'/],
    ['a number out of bounds', ['--rounds', '0'], /--rounds takes a number from 1 to 50, not '0'/],
  ])('refuses %s', async (_, args, sentence) => {
    const { code, stdout, stderr } = await startBench(...args).finished
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr.trim()).toMatch(sentence)
    expect(stderr.trim().split('\n')).toHaveLength(1)
  })
})

describe('its assertions and proofs', () => {
  const request = { method: 'POST', path: '/token', headers: { accept: '*/*' }, body: 'scope=read' } as const
  const header = { typ: 'dpop+jwt' }

  it.each(['ES256', 'RS256'])('are signed with %s, and none is like another', async (alg) => {
    const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true })
    const claims = { sub: 'billing' }
    const place = 'client_assertion'
    const kind = {
      place,
      header: { ...header, alg },
      claims,
      lifetimeSeconds: 60,
      privateKey: await exportPKCS8(privateKey),
    } as const
    const pool = new JwtPool(kind, 3)
    // Two more than were made before.
    const drawn = Array.from({ length: 5 }, () => pool.draw())
    expect(pool.drawn).toBe(5)
    const ids = await Promise.all(
      drawn.map(async (jwt) => {
        const { payload } = await jwtVerify(jwt, publicKey, { algorithms: [alg], typ: header.typ, maxTokenAge: 60 })
        expect(payload).toMatchObject({ ...claims, exp: (payload.iat ?? 0) + 60 })
        return payload.jti
      }),
    )
    expect(new Set(ids).size).toBe(5)
    expect(freshRequest({ request, fresh: kind }).body).toMatch(/^scope=read&client_assertion=eyJ[^&]+$/)
  })

  it('stand in the form or in a header, and leave the rest as it is', () => {
    expect(withJwt(request, 'DPoP', 'eyJ')).toEqual({ ...request, headers: { accept: '*/*', DPoP: 'eyJ' } })
    expect(withJwt(request, 'client_assertion', 'eyJ')).toEqual({ ...request, body: 'scope=read&client_assertion=eyJ' })
    expect(freshRequest({ request })).toEqual(request)
  })
})

describe('its statistics', () => {
  it('are those of small samples that can be counted by hand', () => {
    expect(median([3, 1, 2])).toBe(2)
    expect(median([4, 1, 2, 3])).toBe(2.5)
    expect(median([])).toBeNaN()
    expect(quantile([1, 2, 3, 4], 0.99)).toBe(4)
    expect(slope([2, 4, 6].map((y, x) => ({ x, y })))).toBe(2)
  })

  it('tell two samples apart that differ, and not two that are one', () => {
    const random = randomFrom(11)
    const draw = (shift: number): number[] => Array.from({ length: 2_000 }, () => random() + shift)
    expect(Math.abs(compareRanks(draw(0), draw(0)).z)).toBeLessThan(3.3)
    const moved = compareRanks(draw(0), draw(0.05))
    expect(moved.z).toBeGreaterThan(3.3)
    expect(moved.chanceBelow).toBeGreaterThan(0.5)
    expect(compareRanks([1, 2], [3, 4]).chanceBelow).toBe(1)
    expect(compareRanks([1, 1, 2], [1, 1, 2])).toEqual({ chanceBelow: 0.5, z: 0 })
  })

  it('shuffle by their seed alone, and lose nothing', () => {
    const items = [...Array(50).keys()]
    const once = shuffle(items, randomFrom(5))
    expect(shuffle(items, randomFrom(5))).toEqual(once)
    expect(once).not.toEqual(items)
    expect(once.toSorted((a, b) => a - b)).toEqual(items)
  })
})
