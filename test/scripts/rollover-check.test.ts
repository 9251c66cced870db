import { describe, expect, it } from 'vitest'
import { checkHistory } from '../../scripts/rollover/check.ts'
import type { Commit, History, KeyTimes } from '../../scripts/rollover/history.ts'
import { rules } from '../../scripts/rollover/plan.ts'

const second = 1000
const interval = rules.intervalSeconds * second
const kept = (rules.tokenSeconds + rules.skewSeconds) * second + 2 * second

type Draft = Omit<Commit, 'position'>

/** One algorithm with keys k0 to k3: k0 and k1 from the start, a rotation each interval, a token a minute. */
function draft(): { commits: Draft[]; keys: KeyTimes[] } {
  const commits: Draft[] = []
  const change = (kind: Draft['kind'], kid: string, at: number, sequence: number): void => {
    commits.push({ kind, kid, at, sequence, state: kind === 'activated' ? 'active' : kind })
  }
  change('activated', 'k0', 0, 0)
  change('staged', 'k1', 0, 0)
  for (let round = 0; round < 3; round += 1) {
    const from = round * interval
    for (let at = from; at < from + interval; at += 60 * second) commits.push(token(`k${round}`, at, 3 * round + 1))
    const at = from + interval
    change('retiring', `k${round}`, at, 3 * round + 1)
    change('activated', `k${round + 1}`, at, 3 * round + 1)
    change('staged', `k${round + 2}`, at, 3 * round + 1)
    change('retired', `k${round}`, at + kept, 3 * round + 2)
  }
  return {
    commits: commits.toSorted((a, b) => a.at - b.at),
    keys: [0, 1, 2, 3, 4].map((n) => ({
      kid: `k${n}`,
      alg: 'ES256',
      publishedAt: Math.max(0, n - 1) * interval,
      activatedAt: n === 4 ? null : n * interval,
    })),
  }
}

function token(kid: string, at: number, sequence: number, state = 'active'): Draft {
  const expiresAt = at + rules.tokenSeconds * second
  return { kind: 'token', kid, at, sequence, state, token: { jti: `${kid}@${at}`, expiresAt } }
}

interface Doctored {
  commits?: (commits: Draft[]) => Draft[]
  keys?: (keys: KeyTimes[]) => KeyTimes[]
  more?: Partial<History>
}

function judge({ commits = (c) => c, keys = (k) => k, more = {} }: Doctored = {}): readonly string[] {
  const made = draft()
  const history: History = {
    commits: commits(made.commits).map((commit, position) => ({ ...commit, position })),
    keys: keys(made.keys),
    snapshots: [],
    received: new Map(),
    ...more,
  }
  return checkHistory(history, rules)
}

/** The same commits, with those that match changed, taken out, or with others behind them. */
function replace(matches: (commit: Draft) => boolean, by: (commit: Draft) => Draft[]) {
  return (commits: Draft[]): Draft[] => commits.flatMap((commit) => (matches(commit) ? by(commit) : [commit]))
}

const is = (kind: Draft['kind'], kid: string) => (commit: Draft) => commit.kind === kind && commit.kid === kid

describe('the judge of rollover histories', () => {
  it('finds nothing in a history that keeps the rules', () => {
    expect(judge()).toEqual([])
  })

  const broken: [string, Doctored, RegExp][] = [
    [
      'a token that is committed after its key has stopped signing',
      { commits: replace(is('staged', 'k2'), (commit) => [commit, token('k0', commit.at, 2, 'retiring')]) },
      /committed while its key k0 was retiring, and retiring in/,
    ],
    [
      'a token that is committed while the database had its key in another state than the trail',
      { commits: replace(is('staged', 'k2'), (commit) => [commit, token('k1', commit.at, 2, 'staged')]) },
      /committed while its key k1 was active, and staged in/,
    ],
    [
      'a token of a staged key',
      { commits: replace(is('staged', 'k1'), (commit) => [commit, token('k1', commit.at + 1, 1, 'staged')]) },
      /committed while its key k1 was staged, and staged in/,
    ],
    [
      'a token of a key that nobody knows',
      { commits: replace(is('staged', 'k1'), (commit) => [commit, token('k9', commit.at + 1, 1)]) },
      /k9, which is no key of ours/,
    ],
    [
      'a key that signs before it has been published for its lead',
      {
        keys: (keys) => keys.map((key) => (key.kid === 'k2' ? { ...key, publishedAt: key.publishedAt + second } : key)),
      },
      /k2 was published for 121\.0 s before it signed/,
    ],
    [
      'a token of a key that has not been published for its lead',
      {
        keys: (keys) => keys.map((key) => (key.kid === 'k2' ? { ...key, publishedAt: key.publishedAt + second } : key)),
      },
      /was signed 1\.0 s before its key k2 had been published/,
    ],
    [
      'a key whose date of publication was dated back',
      {
        commits: replace(is('staged', 'k2'), (commit) => [{ ...commit, at: commit.at + 70 * second }]),
      },
      /k2 signed 52\.0 s after the trail has it staged/,
    ],
    [
      'a key that takes over before the interval is over',
      { keys: (keys) => keys.map((key) => (key.kid === 'k2' ? { ...key, activatedAt: 2 * interval - 1 } : key)) },
      /k2 took over 122\.0 s after the one before/,
    ],
    [
      'a key that leaves the JWKS while a token of it is alive by a slow clock',
      { commits: replace(is('retired', 'k1'), (commit) => [{ ...commit, at: commit.at - 10 * second }]) },
      /k1 left the JWKS .* before its last token was dead/,
    ],
    ['two active keys', { commits: replace(is('retiring', 'k1'), () => []) }, /2 ES256 keys were active after/],
    ['no active key', { commits: replace(is('activated', 'k2'), () => []) }, /0 ES256 keys were active after/],
    [
      'no staged key behind the active one',
      { commits: replace(is('staged', 'k2'), () => []) },
      /0 ES256 keys were staged after/,
    ],
    [
      'a second successor',
      { commits: replace(is('staged', 'k2'), (commit) => [commit, { ...commit, kid: 'k3' }]) },
      /2 ES256 keys were staged after/,
    ],
    [
      'a key that signs again after it has stopped',
      {
        commits: replace(is('retired', 'k1'), (commit) => [{ ...commit, kind: 'activated', state: 'active' }]),
      },
      /k1 became active and was retiring, not staged/,
    ],
    [
      'a key that is activated and was never staged',
      { commits: replace(is('staged', 'k1'), () => []) },
      /k1 was activated without having been staged/,
    ],
    [
      'a key that disappears without a word',
      { commits: replace(is('retiring', 'k0'), (commit) => [{ ...commit, kind: 'compromised' }]) },
      /k0 was compromised, and nobody asked for that/,
    ],
    [
      'a token that was received and is not recorded',
      { more: { received: new Map([['lost', 'k0']]) } },
      /lost was received, signed by k0, and is not recorded so/,
    ],
    [
      'a token that is recorded with another key than it was received with',
      { more: { received: new Map([['k0@0', 'k1']]) } },
      /k0@0 was received, signed by k1, and is not recorded so/,
    ],
    [
      'a JWKS that lacks a key',
      { more: { snapshots: [{ from: 2, to: 4, kids: ['k0'], maxAgeSeconds: 60 }] } },
      /a JWKS asked for after commit 2 had other keys/,
    ],
    [
      'a JWKS that still has a key which had left before it was asked for',
      { more: { snapshots: [{ from: 60, to: 60, kids: ['k0', 'k1', 'k2', 'k3', 'k4'], maxAgeSeconds: 60 }] } },
      /had other keys/,
    ],
    [
      'a JWKS that may be kept longer than the lead allows for',
      { more: { snapshots: [{ from: 2, to: 4, kids: ['k0', 'k1'], maxAgeSeconds: 61 }] } },
      /might be kept for 61 s/,
    ],
  ]

  it.each(broken)('finds %s', (_, doctored, sentence) => {
    expect(judge(doctored).join('\n')).toMatch(sentence)
  })

  it('takes a JWKS of any moment between question and answer, and of no other', () => {
    const rotation = draft().commits.findIndex(is('staged', 'k2'))
    const snapshot = (from: number, to: number, kids: string[]) =>
      judge({ more: { snapshots: [{ from, to, kids, maxAgeSeconds: 60 }] } })
    expect(snapshot(rotation - 4, rotation, ['k1', 'k0'])).toEqual([])
    expect(snapshot(rotation - 4, rotation, ['k2', 'k1', 'k0'])).toEqual([])
    expect(snapshot(rotation, rotation, ['k1', 'k0'])).toHaveLength(1)
    expect(snapshot(rotation - 4, rotation - 4, ['k2', 'k1', 'k0'])).toHaveLength(1)
  })
})
