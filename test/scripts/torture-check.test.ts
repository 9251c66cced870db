import { describe, expect, it } from 'vitest'
import { checkHistory } from '../../scripts/torture/check.ts'
import type { Call, FinalState, Refresh } from '../../scripts/torture/history.ts'

/** A family `f` of the client `a`: begun, refreshed twice, a retry between; then revoked. And `g`, which is left alone. */
function makeCalls(): Call[] {
  const refresh = (start: number, presented: string, received: string, jti: string): Refresh => ({
    kind: 'refresh',
    client: 'a',
    as: 'a',
    family: 'f',
    presented,
    received,
    jti,
    start,
    end: start + 5,
    outcome: 'ok',
  })
  return [
    { kind: 'begin', client: 'a', family: 'f', received: 't0', jti: 'j0', start: 0, end: 5, outcome: 'ok' },
    { kind: 'begin', client: 'b', family: 'g', received: 'u0', jti: 'k0', start: 0, end: 5, outcome: 'ok' },
    refresh(10, 't0', 't1', 'j1'),
    refresh(20, 't0', 't1', 'j2'),
    refresh(30, 't1', 't2', 'j3'),
    { kind: 'introspect', client: 'a', family: 'f', jti: 'j3', active: true, start: 36, end: 38, outcome: 'ok' },
    { kind: 'revoke', client: 'a', what: 'refresh_token', family: 'f', start: 40, end: 45, outcome: 'ok' },
    { kind: 'introspect', client: 'a', family: 'f', jti: 'j3', active: false, start: 46, end: 48, outcome: 'ok' },
    { ...refresh(50, 't2', '', ''), outcome: 'fail', error: '400 invalid_grant' },
    { kind: 'disable', client: 'b', start: 60, end: 65, outcome: 'ok' },
    { kind: 'enable', client: 'b', start: 70, end: 75, outcome: 'ok' },
  ].map((call) => {
    const { received, jti, ...rest } = call as Refresh
    return { ...rest, ...(received ? { received } : {}), ...(jti ? { jti } : {}) } as Call
  })
}

function makeFinal(): FinalState {
  const issued = (jti: string, familyId: string, refreshGeneration: number | null) => ({
    jti,
    familyId,
    refreshGeneration,
  })
  return {
    families: [
      { familyId: 'f', clientId: 'a', generation: 2, endReason: 'revoked' },
      { familyId: 'g', clientId: 'b', generation: 0, endReason: null },
    ],
    issued: [
      issued('j0', 'f', null),
      issued('j1', 'f', 0),
      issued('j2', 'f', 0),
      issued('j3', 'f', 1),
      issued('k0', 'g', null),
    ],
    ended: [{ familyId: 'f', reason: 'revoked' }],
    changes: [
      { type: 'client.disabled', clientId: 'b', count: 1 },
      { type: 'client.enabled', clientId: 'b', count: 1 },
    ],
    revoked: [],
    damage: [],
  }
}

interface Doctored {
  readonly calls?: (calls: Call[]) => Call[]
  readonly final?: Partial<FinalState>
}

const judge = ({ calls = (same) => same, final = {} }: Doctored = {}): readonly string[] =>
  checkHistory({ calls: calls(makeCalls()), final: { ...makeFinal(), ...final } })

const call = (more: Partial<Refresh>): Refresh => ({
  kind: 'refresh',
  client: 'a',
  as: 'a',
  family: 'f',
  presented: 't1',
  start: 36,
  end: 38,
  outcome: 'ok',
  ...more,
})
const add =
  (more: Call) =>
  (calls: Call[]): Call[] => [...calls, more]
const refusedOfB = call({
  client: 'b',
  as: 'b',
  family: 'g',
  presented: 'u0',
  start: 90,
  end: 92,
  outcome: 'fail',
  error: '400 invalid_grant',
})
const manyRevoked: readonly string[] = Array.from({ length: 1_000 }, () => 'j3')
const without =
  (kind: Call['kind'], at = 0) =>
  (calls: Call[]): Call[] => {
    const victim = calls.filter((one) => one.kind === kind)[at]
    return calls.filter((one) => one !== victim)
  }

describe('the judge of a torture run', () => {
  it('finds nothing in a history that fits', () => {
    expect(judge()).toEqual([])
  })

  it.each<[string, RegExp, Doctored]>([
    ['a second successor', /^fork/, { calls: add(call({ presented: 't0', received: 'x', start: 21, end: 24 })) }],
    [
      'a token of a family that was revoked',
      /accepted although it was revoked/,
      { calls: add(call({ presented: 't2', start: 80, end: 85 })) },
    ],
    [
      'a used token whose successor was used',
      /accepted although its successor/,
      { calls: add(call({ presented: 't0', received: 't1', jti: 'j1' })) },
    ],
    [
      'a refusal for nothing',
      /nothing had ended it/,
      { calls: add(call({ presented: 't2', start: 36, end: 38, outcome: 'fail', error: '400 invalid_grant' })) },
    ],
    [
      'another refusal for nothing',
      /refused for no reason/,
      { calls: add(call({ presented: 't2', outcome: 'fail', error: '400 invalid_scope' })) },
    ],
    [
      'a client that was refused for nothing',
      /was not disabled/,
      { calls: add(call({ presented: 't2', outcome: 'fail', error: '401 invalid_client' })) },
    ],
    [
      'a fault of the server',
      /answered with a fault/,
      { calls: add(call({ presented: 't2', outcome: 'fail', error: '500 server_error' })) },
    ],
    ['a token that another client got', /given to another client/, { calls: add(call({ as: 'b', presented: 't2' })) }],
    [
      'a scope that was never granted',
      /given to another client/,
      { calls: add(call({ scope: 'read admin', presented: 't2' })) },
    ],
    [
      'a token for a disabled client',
      /issued to a client that was disabled/,
      { calls: add({ kind: 'begin', client: 'b', start: 66, end: 68, outcome: 'ok' }) },
    ],
    [
      'a family that outlives its disabled client',
      /accepted although its client was disabled/,
      { calls: add(call({ client: 'b', as: 'b', family: 'g', presented: 'u0', start: 80, end: 85 })) },
    ],
    [
      'a token that is active after its revocation',
      /^active although/,
      {
        calls: add({
          kind: 'introspect',
          client: 'a',
          family: 'f',
          jti: 'j1',
          active: true,
          start: 50,
          end: 55,
          outcome: 'ok',
        }),
      },
    ],
    [
      'a token that is inactive for nothing',
      /^inactive although/,
      {
        calls: add({
          kind: 'introspect',
          client: 'a',
          family: 'f',
          jti: 'j1',
          active: false,
          start: 30,
          end: 35,
          outcome: 'ok',
        }),
      },
    ],
    ['a family that is gone', /is not in the database/, { final: { families: makeFinal().families.slice(0, 1) } }],
    [
      'a rotation that was lost',
      /must be at 2 to 2/,
      {
        final: {
          families: makeFinal().families.map((row) => (row.familyId === 'f' ? { ...row, generation: 1 } : row)),
        },
      },
    ],
    [
      'an end that was lost',
      /has not ended/,
      { final: { families: makeFinal().families.map((row) => ({ ...row, endReason: null })), ended: [] } },
    ],
    [
      'an end for nothing',
      /nothing has ended it/,
      { calls: (calls) => without('introspect', 1)(without('revoke')(calls)).filter((one) => one.outcome === 'ok') },
    ],
    [
      'a reuse that ended nothing',
      /g has not ended/,
      {
        calls: (calls) => [
          ...calls.filter((one) => one.kind !== 'disable' && one.kind !== 'enable'),
          {
            ...call({ client: 'b', as: 'b', family: 'g', presented: 'u0', received: 'u1', jti: 'k1' }),
            start: 10,
            end: 12,
          },
          {
            ...call({ client: 'b', as: 'b', family: 'g', presented: 'u1', received: 'u2', jti: 'k2' }),
            start: 14,
            end: 16,
          },
          {
            ...call({
              client: 'b',
              as: 'b',
              family: 'g',
              presented: 'u0',
              outcome: 'fail',
              error: '400 invalid_grant',
            }),
            start: 80,
            end: 82,
          },
        ],
      },
    ],
    ['an end without a record', /the trail has \[\]/, { final: { ended: [] } }],
    ['an end with two records', /the trail has/, { final: { ended: [...makeFinal().ended, ...makeFinal().ended] } }],
    [
      'a token without a record',
      /j3 has no record/,
      { final: { issued: makeFinal().issued.filter(({ jti }) => jti !== 'j3') } },
    ],
    [
      'a record of another generation',
      /is on record as/,
      {
        final: { issued: makeFinal().issued.map((row) => (row.jti === 'j3' ? { ...row, refreshGeneration: 0 } : row)) },
      },
    ],
    ['a change that was lost', /0 times client.disabled/, { final: { changes: makeFinal().changes.slice(1) } }],
    [
      'a second change that was lost',
      /1 times client.disabled of b, and must have 2 to 2/,
      { calls: add({ kind: 'disable', client: 'b', start: 80, end: 85, outcome: 'ok' }) },
    ],
    [
      'a change that was lost, and not for the one before it',
      /0 times client.disabled of b, and must have 1 to 2/,
      {
        calls: (calls) => [
          ...calls.map((one) => (one.kind === 'enable' ? { ...one, outcome: 'unknown' as const } : one)),
          { kind: 'disable', client: 'b', start: 80, end: 85, outcome: 'ok' },
        ],
        final: { changes: [] },
      },
    ],
    [
      'a change that nobody made',
      /2 times client.enabled/,
      {
        final: {
          changes: [
            { type: 'client.disabled', clientId: 'b', count: 1 },
            { type: 'client.enabled', clientId: 'b', count: 2 },
          ],
        },
      },
    ],
    [
      'a revoked token that the trail does not have',
      /the trail does not have it/,
      {
        calls: add({
          kind: 'revoke',
          client: 'a',
          what: 'access_token',
          family: 'f',
          jti: 'j1',
          start: 30,
          end: 32,
          outcome: 'ok',
        }),
      },
    ],
    [
      'an answer without a refresh token',
      /answered without a token/,
      { calls: add(call({ presented: 't0', jti: 'j5', start: 21, end: 24 })) },
    ],
    [
      'an access token that two were given',
      /j1 was given twice/,
      { calls: add(call({ presented: 't0', received: 't1', jti: 'j1', start: 21, end: 24 })) },
    ],
    [
      'a family of another client',
      /f belongs to b/,
      { final: { families: makeFinal().families.map((row) => ({ ...row, clientId: 'b' })) } },
    ],
    [
      'a family that nobody has begun',
      /1 families that nobody has, and 0 answers/,
      {
        final: {
          families: [...makeFinal().families, { familyId: 'h', clientId: 'a', generation: 0, endReason: null }],
        },
      },
    ],
    [
      'a token that nobody has asked for',
      /1 tokens that nobody has, and 0 answers/,
      { final: { issued: [...makeFinal().issued, { jti: 'j4', familyId: 'f', refreshGeneration: 1 }] } },
    ],
    [
      'the end of a family that nobody has',
      /which nobody has, has ended as reused/,
      { final: { ended: [...makeFinal().ended, { familyId: 'h', reason: 'reused' }] } },
    ],
    [
      'a store that went back in time',
      /has ended as generation_ahead/,
      {
        final: {
          families: makeFinal().families.map((row) =>
            row.familyId === 'f' ? { ...row, endReason: 'generation_ahead' } : row,
          ),
          ended: [{ familyId: 'f', reason: 'generation_ahead' }],
        },
      },
    ],
    [
      'all tokens of a client ended for few marks',
      /were ended 1 times, for fewer marks/,
      { calls: add({ kind: 'collapse', client: 'b', start: 76, end: 80, outcome: 'unknown' }) },
    ],
    [
      'a family that a collapse of before it cannot have ended',
      /refused as if it were stolen or unknown/,
      {
        calls: (calls) => [
          ...calls.map((one) => (one.kind === 'begin' && one.client === 'b' ? { ...one, start: 81, end: 82 } : one)),
          { kind: 'collapse', client: 'b', start: 76, end: 80, outcome: 'unknown' },
          refusedOfB,
        ],
        final: { revoked: manyRevoked },
      },
    ],
    ['damage', /the database: damaged/, { final: { damage: ['damaged: page 3'] } }],
  ])('finds %s', (_, sentence, doctored) => {
    expect(judge(doctored).join('\n')).toMatch(sentence)
  })

  it('finds refusals of a revocation, or of a question, for nothing', () => {
    const refused = { client: 'a', family: 'f', start: 36, end: 38, outcome: 'fail', error: '404 not_found' } as const
    const calls: Call[] = [
      { ...refused, kind: 'revoke', what: 'access_token', jti: 'j1' },
      { ...refused, kind: 'introspect', jti: 'j1' },
    ]
    for (const one of calls) expect(judge({ calls: add(one) }).join()).toMatch(/refused for no reason/)
  })

  it.each<[string, Doctored]>([
    [
      'a retry that was answered before the call that it follows',
      {
        calls: add(call({ presented: 't0', received: 't1', jti: 'j5', start: 11, end: 12 })),
        final: { issued: [...makeFinal().issued, { jti: 'j5', familyId: 'f', refreshGeneration: 0 }] },
      },
    ],
    [
      'a refusal after so many marks that one moment took their place',
      {
        calls: (calls) => [
          ...calls.filter(({ kind }) => kind !== 'disable' && kind !== 'enable'),
          { kind: 'collapse', client: 'b', start: 76, end: 80, outcome: 'unknown' },
          refusedOfB,
        ],
        final: { changes: [], revoked: manyRevoked },
      },
    ],
    [
      'a refusal beside a revocation that is under way',
      { calls: add(call({ presented: 't2', start: 41, end: 43, outcome: 'fail', error: '400 invalid_grant' })) },
    ],
    [
      'a store that was locked for too long',
      { calls: add(call({ presented: 't2', outcome: 'fail', error: '503 temporarily_unavailable' })) },
    ],
    [
      'a family and a token whose answer was lost',
      {
        calls: add({ kind: 'begin', client: 'a', start: 10, end: 12, outcome: 'unknown' }),
        final: {
          families: [...makeFinal().families, { familyId: 'h', clientId: 'a', generation: 0, endReason: null }],
          issued: [...makeFinal().issued, { jti: 'j4', familyId: 'h', refreshGeneration: null }],
        },
      },
    ],
    [
      'a reuse of what was ended with its client',
      {
        calls: (calls) => [
          ...calls,
          {
            ...call({ client: 'b', as: 'b', family: 'g', presented: 'u0', received: 'u1', jti: 'k1' }),
            start: 10,
            end: 12,
          },
          {
            ...call({ client: 'b', as: 'b', family: 'g', presented: 'u1', received: 'u2', jti: 'k2' }),
            start: 14,
            end: 16,
          },
          {
            ...call({
              client: 'b',
              as: 'b',
              family: 'g',
              presented: 'u0',
              outcome: 'fail',
              error: '400 invalid_grant',
            }),
            start: 80,
            end: 82,
          },
        ],
        final: {
          families: makeFinal().families.map((row) => (row.familyId === 'g' ? { ...row, generation: 2 } : row)),
          issued: [
            ...makeFinal().issued,
            { jti: 'k1', familyId: 'g', refreshGeneration: 0 },
            { jti: 'k2', familyId: 'g', refreshGeneration: 1 },
          ],
        },
      },
    ],
    [
      'a disable without a record of a client that may not have been enabled again',
      {
        calls: (calls) => [
          ...calls.map((one) => (one.kind === 'enable' ? { ...one, outcome: 'unknown' as const } : one)),
          { kind: 'disable', client: 'b', start: 80, end: 85, outcome: 'ok' },
        ],
        final: { changes: [{ type: 'client.disabled', clientId: 'b', count: 1 }] },
      },
    ],
    ['a use that nobody knows the outcome of', { calls: add(call({ presented: 't2', outcome: 'unknown' })) }],
    [
      'a client that is refused while a change is under way',
      { calls: add({ kind: 'begin', client: 'b', start: 61, end: 63, outcome: 'fail', error: '401 invalid_client' }) },
    ],
  ])('lets pass %s', (_, doctored) => {
    expect(judge(doctored)).toEqual([])
  })
})
