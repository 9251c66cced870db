import { leadLeftMilliseconds } from '../key/rotate.ts'
import type { SigningAlg } from '../key/signer.ts'
import type { Command, CommandContext } from './command.ts'
import { algOption, changeRing, findPair, type OpenedRing, openRing, parseAlgs } from './open-ring.ts'
import { printList, timestamp } from './print.ts'

/** Makes the staged key of an algorithm sign, retires the active one and stages another. @throws CommandFailure */
export async function rotateNow(opened: OpenedRing, algs: readonly SigningAlg[], context: CommandContext) {
  const { makeSigningKey } = await import('../key/make-key.ts')
  const { keys, root } = opened.ring
  const pairs = algs.map((alg) => findPair(keys, alg))
  const moves = pairs.flatMap(({ active, staged }) => [
    { kid: active.kid, from: 'active' as const, to: 'retiring' as const },
    { kid: staged.kid, from: 'staged' as const, to: 'active' as const },
  ])
  const adds = await Promise.all(
    algs.map(async (alg) => ({ ...(await makeSigningKey(root.root, root.storeId, alg)), state: 'staged' as const })),
  )
  const { now } = await changeRing(opened, { moves, adds, reason: 'command' }, context)
  return pairs.map(({ active, staged }, i) => ({
    alg: active.alg,
    signs: staged.kid,
    retires: active.kid,
    staged: adds[i]?.kid ?? null,
    at: timestamp(now),
  }))
}

export const keyRotate: Command = {
  name: 'key rotate',
  summary: 'let the staged key sign as soon as every verifier can have it: now, or when its lead is over',
  options: [algOption],
  example: 'mayfly key rotate --alg ES256',
  changes: true,
  async run(context, _, options) {
    const opened = await openRing(context)
    const { ring, store, moment, timing } = opened
    const pairs = parseAlgs(options).map((alg) => findPair(ring.keys, alg))
    const left = (pair: (typeof pairs)[number]): number => leadLeftMilliseconds(pair.staged, moment, timing)
    const ready = pairs.filter((pair) => left(pair) <= 0).map(({ active }) => active.alg)
    const done = ready.length === 0 ? [] : await rotateNow(opened, ready, context)
    const asked = []
    for (const pair of pairs.filter((candidate) => left(candidate) > 0)) {
      await store.requestRotation(pair.active.kid, moment, context.actor)
      const { alg, kid } = pair.active
      asked.push({ alg, signs: pair.staged.kid, retires: kid, staged: null, at: timestamp(moment.now + left(pair)) })
    }
    if (asked.length > 0) {
      context.note(
        'Where `at` is in the future the staged key has not been published long enough: a running server rotates then.',
      )
    }
    return printList([...done, ...asked], ['alg', 'at', 'signs', 'retires'], '')
  },
}
